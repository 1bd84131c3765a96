import { afterEach, expect, jest, test } from "@jest/globals";
import { createLogger } from "../../src/platform/log.ts";

afterEach(() => {
  jest.restoreAllMocks();
});

test("what an order or a request must not tell is redacted, at the top of a line and one level below", async () => {
  let written = "";
  jest.spyOn(process.stdout, "write").mockImplementation((text) => {
    written += String(text);
    return true;
  });
  const order = {
    id: "an-id",
    paymentToken: "secret-1",
    customer: { email: "secret-2" },
    shipTo: { line1: "secret-3" },
    billTo: { line1: "secret-4" },
    metadata: { gift: "secret-5" },
    note: "secret-6",
  };
  const log = createLogger({ name: "test", level: "info" });
  log.info(order, "at the top");
  log.info({ order }, "one level below");
  log.info({ request: { headers: { authorization: "Bearer secret-7" } } }, "a request");
  await new Promise((resolve) => setImmediate(resolve));
  expect(written.trim().split("\n")).toHaveLength(3);
  expect(written).toContain("an-id");
  expect(written).toContain("[Redacted]");
  expect(written).not.toContain("secret");
});
