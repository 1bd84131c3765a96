import { afterEach, beforeEach, expect, jest, test } from "@jest/globals";
import { PLAIN_ORDER } from "../support/client.ts";
import { startLine, type TestLine } from "../support/line.ts";
import { waitFor } from "../support/wait-for.ts";

jest.setTimeout(180_000);

let line: TestLine;
beforeEach(async () => {
  line = await startLine({
    env: {
      // Long enough for a busy machine to get everything done before it that is to be done before it.
      PAYMENT_DEADLINE: "8s",
      STAGE_ATTEMPTS: "2",
      PROBE_INTERVAL_MS: "100",
      SWEEP_INTERVAL_MS: "100",
      SWEEP_AFTER_MS: "60000",
    },
  });
  await line.client.put("/stock/MUG-BLUE", { onHand: 1_000 });
});
afterEach(() => line.close());

const place = (given: object = {}) => line.client.order({ ...PLAIN_ORDER, ...given });
const read = async (id: string) => (await line.client.get(`/orders/${id}`)).body;
const books = async (id: string) =>
  line.environment.providers.entriesOf(id).map(({ kind, outcome }) => `${kind} ${outcome}`);
const reserved = async () => (await line.client.get("/stock/MUG-BLUE")).body.reserved;

test("what can't be paid in time is cancelled, its stock released during the outage, and nobody charged", async () => {
  line.environment.providers.setFault("payments", { kind: "down" });
  const orders = await Promise.all(Array.from({ length: 20 }, () => place()));
  for (const { id } of orders) await line.client.orderIn(id, "RESERVED");

  await waitFor("the stock to be released", async () => (await reserved()) === 0);
  for (const { id } of orders) {
    const { status, cancellation } = await read(id);
    expect(cancellation?.reason).toBe("not paid within 8 seconds");
    // Whether something was charged, the provider alone knows.
    expect(status).toBe("RESERVED");
  }

  line.environment.providers.setFault("payments", { kind: "none" });
  for (const { id } of orders) {
    await line.client.orderIn(id, "CANCELLED");
    expect(await books(id)).not.toContain("charge approved");
  }
});

test("an order that failed to be paid waits for a person until the deadline, and no longer", async () => {
  const { id } = await place({ paymentToken: "tok_down" });
  await waitFor("the order to fail", async () => (await read(id)).failed);
  expect(await line.client.orderIn(id, "CANCELLED")).not.toHaveProperty("failed");
  expect(await books(id)).toEqual(["charge void"]);
  expect(await reserved()).toBe(0);
});

test("one that was paid in time has all the time that it needs", async () => {
  line.environment.providers.setFault("carrier", { kind: "down" });
  const paid = await place();
  await line.client.orderIn(paid.id, "PAID");
  // Another one's end shows that the deadline has passed for both.
  const late = await place({ paymentToken: "tok_down" });
  await waitFor("the deadline to pass", async () => (await read(late.id)).status === "CANCELLED");
  expect(await read(paid.id)).not.toHaveProperty("cancellation");
  line.environment.providers.setFault("carrier", { kind: "none" });
  await line.client.orderIn(paid.id, "DELIVERED");
});
