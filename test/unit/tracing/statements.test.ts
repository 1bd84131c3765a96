import { expect, test } from "@jest/globals";
import { summaryOf } from "../../../src/tracing/statements.ts";

test.each([
  ["select `id`, `status` from `orders` where `orders`.`id` in ('a')", ["SELECT", "orders"]],
  ["insert into `order_lines` (`order_id`) values ('from x')", ["INSERT", "order_lines"]],
  ["update `orders` set `status` = 'PAID' where `id` = 'a'", ["UPDATE", "orders"]],
  ["delete from relay_positions", ["DELETE", "relay_positions"]],
  ["START TRANSACTION", ["START", undefined]],
  ["COMMIT", ["COMMIT", undefined]],
  ["SELECT 1", ["SELECT", undefined]],
  // What a customer wrote never is the name of a table.
  ["select * , 'from secrets' from `orders`", ["SELECT", undefined]],
  ["  \n select\n  1\nfrom\n `stock`", ["SELECT", "stock"]],
  ["", ["STATEMENT", undefined]],
])("%j is told as %j", (statement, summary) => {
  expect(summaryOf(statement)).toEqual(summary);
});
