import { expect, test } from "@jest/globals";
import * as index from "../../src/index.ts";
import * as ports from "../../src/order/ports.ts";

test("modules outside can throw every error that a port may", () => {
  const errors = Object.keys(ports).filter((name) => name.endsWith("Error"));
  expect(errors).not.toHaveLength(0);
  expect(Object.keys(index)).toEqual(expect.arrayContaining(errors));
});
