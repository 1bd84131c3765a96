import { afterAll, beforeAll, expect, jest, test } from "@jest/globals";
import { startProviders, type Providers } from "../../tools/simulators/providers.ts";
import { PLAIN_ORDER } from "../support/client.ts";
import { startLine, type TestLine } from "../support/line.ts";

jest.setTimeout(120_000);

let providers: Providers;
let line: TestLine;
beforeAll(async () => {
  let calls = 0;
  // Every second call that a fault may hit, beginning with the first.
  providers = await startProviders({ transitMs: 100, random: () => (calls++ % 2 === 0 ? 0 : 0.9) });
  const { paymentsUrl, carrierUrl } = providers;
  line = await startLine({
    // One order may have bad luck often.
    env: {
      PAYMENTS_URL: paymentsUrl,
      CARRIER_URL: carrierUrl,
      STAGE_ATTEMPTS: "30",
      PROBE_INTERVAL_MS: "100",
    },
  });
  await line.client.post("/stock", { items: [{ sku: "MUG-BLUE", onHand: 100 }] });
});
afterAll(async () => {
  await line.close();
  await providers.close();
});

/** What the providers' own books say of an order. */
function booked(id: string) {
  const { charges, declines, refunds, labels } = providers.books;
  const ofOrder = (entry: { orderId: string }) => entry.orderId === id;
  return {
    charges: charges.filter(ofOrder).map(({ key, amount, currency }) => ({ key, amount, currency })),
    declines: declines.filter(ofOrder).length,
    refunds: refunds.filter(ofOrder).length,
    labels: labels.filter(ofOrder).map(({ key, voided }) => ({ key, voided })),
  };
}

test("an order is charged, sent and handed over by services outside", async () => {
  const order = await line.client.order({ ...PLAIN_ORDER, paymentToken: "tok_stumbles_1" });
  await line.client.orderIn(order.id, "DELIVERED");
  expect(booked(order.id)).toEqual({
    charges: [{ key: `${order.id}:pay`, amount: order.total, currency: "EUR" }],
    declines: 0,
    refunds: 0,
    labels: [{ key: `${order.id}:ship`, voided: false }],
  });
  expect(providers.books.attempts.get(`${order.id}:pay`)).toBe(2);
});

test("an order that is declined outside is cancelled with their reason", async () => {
  const order = await line.client.order({ ...PLAIN_ORDER, paymentToken: "tok_declined" });
  const cancelled = await line.client.orderIn(order.id, "CANCELLED");
  expect(cancelled).toMatchObject({ cancellation: { reason: "payment declined: the card was declined" } });
  expect(booked(order.id)).toEqual({ charges: [], declines: 1, refunds: 0, labels: [] });
});

test("replies that are lost charge nobody twice", async () => {
  providers.setFault("payments", { kind: "lost-reply", rate: 0.5 });
  providers.setFault("carrier", { kind: "lost-reply", rate: 0.5 });
  const orders = await Promise.all(Array.from({ length: 10 }, () => line.client.order(PLAIN_ORDER)));
  await Promise.all(orders.map(({ id }) => line.client.orderIn(id, "DELIVERED")));
  for (const { id } of orders) {
    const { charges, labels } = booked(id);
    expect([charges.length, labels.length]).toEqual([1, 1]);
  }
  // A payment is looked up before it is asked for again, and found.
  const asked = (key: string) =>
    Math.max(...orders.map(({ id }) => providers.books.attempts.get(id + key) ?? 0));
  expect([asked(":pay"), asked(":pay:find") > 0, asked(":ship") > 1]).toEqual([1, true, true]);
});
