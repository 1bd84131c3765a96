import { expect, test } from "@jest/globals";
import { summaryOf } from "../../../src/platform/tracing/statements.ts";

test.each([
  ["select `id`, `status` from `orders` where `orders`.`id` in ('a')", ["SELECT", "orders", "SELECT orders"]],
  [
    "insert into `order_lines` (`order_id`) values ('from x')",
    ["INSERT", "order_lines", "INSERT order_lines"],
  ],
  ["update `orders` set `status` = 'PAID' where `id` = 'a'", ["UPDATE", "orders", "UPDATE orders"]],
  ["delete from relay_positions", ["DELETE", "relay_positions", "DELETE relay_positions"]],
  ["START TRANSACTION", ["START", undefined, "START"]],
  ["COMMIT", ["COMMIT", undefined, "COMMIT"]],
  ["SELECT 1", ["SELECT", undefined, "SELECT"]],
  // What a customer wrote never is the name of a table.
  ["select * , 'from secrets' from `orders`", ["SELECT", undefined, "SELECT"]],
  ["  \n select\n  1\nfrom\n `stock`", ["SELECT", "stock", "SELECT stock"]],
  ["START TRANSACTION;\nselect 1 from `stock`", ["SELECT", "stock", "SELECT stock"]],
  [
    "insert into `orders` values (1);\ninsert into `x` values (2);\nCOMMIT",
    ["INSERT", "orders", "INSERT orders; COMMIT"],
  ],
  [
    "START TRANSACTION;\ninsert into `orders` values (1);\nCOMMIT",
    ["INSERT", "orders", "INSERT orders; COMMIT"],
  ],
  ["", ["STATEMENT", undefined, "STATEMENT"]],
])("%j is told as %j", (statement, summary) => {
  expect(summaryOf(statement)).toEqual(summary);
});
