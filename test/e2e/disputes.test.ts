import { afterEach, expect, test } from "@jest/globals";
import { eq } from "drizzle-orm";
import { z } from "zod";
import { reservations } from "../../db/schema.ts";
import {
  call,
  dispute,
  eventsOf,
  happens,
  paymentsOf,
  place,
  refund,
  sendWebhook,
  typesOf,
  useShop,
  waitingOf,
} from "../support/stripe-shop.ts";
import { waitFor } from "../support/wait-for.ts";

const shop = useShop();
afterEach(() => {
  shop.environment.providers.setFault("carrier", { kind: "none" });
  shop.environment.providers.setFault("payments", { kind: "none" });
  shop.environment.providers.setWebhooks({ lost: 0 });
});

/** An order that is paid, and can't ship. */
async function paid(): Promise<{ readonly id: string; readonly paymentId: string }> {
  shop.environment.providers.setFault("carrier", { kind: "down" });
  const id = await place(shop, "pm_card_visa");
  await shop.client.orderIn(id, "PAID");
  const [payment] = (await paymentsOf(shop, id)).payments;
  return { id, paymentId: payment?.providerId ?? "" };
}
const holdsOf = async (id: string) =>
  z
    .object({ holds: z.array(z.looseObject({ name: z.string() })).default([]) })
    .parse((await call(shop, "GET", `/orders/${id}`)).body).holds;
const disputesOf = async (id: string) =>
  (await typesOf(shop, id)).filter((type) => type.includes("disput") || type.startsWith("hold"));

test("a disputed order is held, and ships as soon as the dispute is won", async () => {
  const { id, paymentId } = await paid();
  const end = await dispute(shop, paymentId);
  await waitFor("the hold", async () => (await holdsOf(id)).length > 0);
  expect(await holdsOf(id)).toMatchObject([
    { name: "disputed", reason: "the customer disputes the payment", actor: "stripe" },
  ]);
  expect((await paymentsOf(shop, id)).payments).toMatchObject([{ state: "CAPTURED", dispute: "OPEN" }]);
  shop.environment.providers.setFault("carrier", { kind: "none" });
  await end("winning");
  await shop.client.orderIn(id, "DELIVERED");
  expect((await paymentsOf(shop, id)).payments).toMatchObject([{ dispute: "WON" }]);
  expect(await disputesOf(id)).toEqual(["hold.placed", "dispute.opened", "hold.released", "dispute.won"]);
});

test("an order whose dispute is lost stays held until somebody decides", async () => {
  const { id, paymentId } = await paid();
  const end = await dispute(shop, paymentId);
  await waitFor("the hold", async () => (await holdsOf(id)).length > 0);
  await end("losing");
  await waitFor("its end", async () => (await disputesOf(id)).includes("dispute.lost"));
  expect(await holdsOf(id)).toMatchObject([{ name: "disputed" }]);
});

test("what a dispute's webhooks say is not believed, whatever their order and number", async () => {
  shop.environment.providers.setWebhooks({ lost: 1 });
  const { id, paymentId } = await paid();
  const about = { id: "dp_1", object: "dispute", payment_intent: paymentId };
  const opened = () => sendWebhook(shop, "charge.dispute.created", { ...about, status: "needs_response" });
  const won = () => sendWebhook(shop, "charge.dispute.closed", { ...about, status: "won" });
  // Nobody disputes it at Stripe.
  expect((await opened()).status).toBe(204);
  expect(await holdsOf(id)).toEqual([]);
  const end = await dispute(shop, paymentId);
  // It says "won", and is early or forged.
  expect((await won()).status).toBe(204);
  expect(await holdsOf(id)).toHaveLength(1);
  await Promise.all([opened(), won(), opened(), won()]);
  expect(await holdsOf(id)).toHaveLength(1);
  await end("winning");
  // The late one ends it, and the doubled ones change nothing.
  await Promise.all([opened(), won(), opened(), opened()]);
  expect(await holdsOf(id)).toEqual([]);
  await Promise.all([won(), opened()]);
  expect(await disputesOf(id)).toEqual(["hold.placed", "dispute.opened", "hold.released", "dispute.won"]);
});

test("a hold that somebody released while the dispute goes on is not placed anew", async () => {
  const { id, paymentId } = await paid();
  await dispute(shop, paymentId);
  await waitFor("the hold", async () => (await disputesOf(id)).includes("dispute.opened"));
  await call(shop, "DELETE", `/orders/${id}/holds/disputed`);
  await sendWebhook(shop, "charge.dispute.updated", { id: "dp_1", payment_intent: paymentId });
  expect(await holdsOf(id)).toEqual([]);
});

test("a dispute that can't be looked up is answered so that Stripe sends it again", async () => {
  const { id, paymentId } = await paid();
  shop.environment.providers.setWebhooks({ lost: 1 });
  await dispute(shop, paymentId);
  shop.environment.providers.setFault("payments", { kind: "down" });
  const about = { id: "dp_1", object: "dispute", payment_intent: paymentId };
  const answer = await sendWebhook(shop, "charge.dispute.created", about);
  expect(answer.status).toBe(503);
  expect(await answer.json()).toMatchObject({ type: "urn:conveyor:problem:unavailable" });
  shop.environment.providers.setFault("payments", { kind: "none" });
  expect((await sendWebhook(shop, "charge.dispute.created", about)).status).toBe(204);
  expect(await holdsOf(id)).toHaveLength(1);
});

test("an order whose dispute is lost is cancelled without a refund: the customer has the money", async () => {
  const { id, paymentId } = await paid();
  const end = await dispute(shop, paymentId);
  await waitFor("the hold", async () => (await holdsOf(id)).length > 0);
  await end("losing");
  await waitFor("its end", async () => (await disputesOf(id)).includes("dispute.lost"));
  shop.environment.providers.setFault("carrier", { kind: "none" });
  await call(shop, "POST", `/orders/${id}/cancel`, { reason: "the dispute was lost" });
  await shop.client.orderIn(id, "CANCELLED");
  expect((await paymentsOf(shop, id)).refunds).toEqual([]);
});

test.each([
  ["won: it is refunded", "winning", ["refund.created", "refund.succeeded"]],
  ["lost: the customer has the money", "losing", []],
] as const)(
  "a cancellation waits for the dispute, and ends as soon as it is %s",
  async (_what, ending, told) => {
    const { id, paymentId } = await paid();
    const end = await dispute(shop, paymentId);
    await waitFor("the hold", async () => (await holdsOf(id)).length > 0);
    shop.environment.providers.setFault("carrier", { kind: "none" });
    await call(shop, "POST", `/orders/${id}/cancel`, { reason: "changed my mind" });
    const waiting = await waitFor("it to wait", () => waitingOf(shop, id));
    expect(waiting).toMatchObject({ stage: "cancel", for: "the dispute of the payment to end" });
    // Its goods need not wait.
    const [reservation] = await shop.environment.database.query((queries) =>
      queries.select().from(reservations).where(eq(reservations.orderId, id)),
    );
    expect(reservation).toMatchObject({ state: "RELEASED" });
    await end(ending);
    await shop.client.orderIn(id, "CANCELLED");
    expect((await typesOf(shop, id)).filter((type) => type.startsWith("refund."))).toEqual(told);
  },
);

test("a dispute of what was delivered is told, and its refunds are refused, or fail in plain sight", async () => {
  shop.environment.providers.setWebhooks({ lost: 1 });
  const id = await place(shop, "pm_card_visa");
  await shop.client.orderIn(id, "DELIVERED");
  const [payment] = (await paymentsOf(shop, id)).payments;
  await dispute(shop, payment?.providerId);
  await refund(shop, id, { amount: 1_000 });
  await waitFor("the refund to fail", async () => (await typesOf(shop, id)).includes("refund.failed"));
  expect((await paymentsOf(shop, id)).refunds).toMatchObject([
    { state: "FAILED", failure: expect.stringMatching(/^payments answered 400: .*charged back/) },
  ]);
  await sendWebhook(shop, "charge.dispute.created", { id: "dp_1", payment_intent: payment?.providerId });
  expect(await disputesOf(id)).toEqual(["dispute.opened"]);
  expect(await holdsOf(id)).toEqual([]);
  expect((await paymentsOf(shop, id)).payments).toMatchObject([{ dispute: "OPEN", disputed: 3_000 }]);
  expect(await refund(shop, id, { amount: 1_000 })).toMatchObject({
    status: 409,
    body: {
      detail: expect.stringContaining("3000 are disputed, and the customer's bank has taken them back"),
    },
  });
  expect(await (await happens(shop, payment?.providerId, "dispute")).json()).toHaveProperty("error");
});

test("of a payment that is disputed in part the rest can be refunded, and is when the order is cancelled", async () => {
  const { id, paymentId } = await paid();
  const end = await dispute(shop, paymentId, "?amount=1000");
  await waitFor("the hold", async () => (await holdsOf(id)).length > 0);
  expect(await holdsOf(id)).toMatchObject([
    { name: "disputed", reason: "the customer disputes the payment, EUR 10.00 of it" },
  ]);
  expect((await paymentsOf(shop, id)).payments).toMatchObject([{ dispute: "OPEN", disputed: 1_000 }]);
  expect(await refund(shop, id, { amount: 2_001 })).toMatchObject({
    status: 409,
    body: { detail: expect.stringContaining("2000 EUR in minor units are left") },
  });
  expect((await refund(shop, id, { amount: 500 })).status).toBe(202);
  await waitFor("the refund", async () => (await typesOf(shop, id)).includes("refund.succeeded"));
  await end("losing");
  await waitFor("its end", async () => (await disputesOf(id)).includes("dispute.lost"));
  const told = (await eventsOf(shop, id)).filter(({ type }) => type.startsWith("dispute."));
  expect(told).toMatchObject([{ record: { amount: 1_000 } }, { record: { amount: 1_000 } }]);
  shop.environment.providers.setFault("carrier", { kind: "none" });
  await call(shop, "POST", `/orders/${id}/cancel`, { reason: "the dispute was lost" });
  await shop.client.orderIn(id, "CANCELLED");
  const books = shop.environment.providers.books.refunds.filter(({ orderId }) => orderId === id);
  expect(books.map(({ amount }) => amount)).toEqual([500, 1_500]);
});

test("an inquiry holds the order, moves no money, and is over once the order is cancelled and paid back", async () => {
  const { id, paymentId } = await paid();
  await dispute(shop, paymentId, "?inquiry=true");
  await waitFor("the hold", async () => (await holdsOf(id)).length > 0);
  expect(await holdsOf(id)).toMatchObject([
    { name: "disputed", reason: "the customer's bank asks about the payment" },
  ]);
  expect((await paymentsOf(shop, id)).payments).toMatchObject([{ dispute: "INQUIRY", disputed: 3_000 }]);
  expect((await refund(shop, id, { amount: 1_000 })).status).toBe(202);
  shop.environment.providers.setFault("carrier", { kind: "none" });
  await call(shop, "POST", `/orders/${id}/cancel`, { reason: "the customer does not know it" });
  await shop.client.orderIn(id, "CANCELLED");
  await waitFor("the inquiry's end", async () => (await disputesOf(id)).includes("dispute.closed"));
  expect((await paymentsOf(shop, id)).payments).toMatchObject([{ dispute: "CLOSED", refunded: 3_000 }]);
  const told = (await typesOf(shop, id)).filter((type) => type.startsWith("dispute."));
  expect(told).toEqual(["dispute.inquiry", "dispute.closed"]);
});

test.each([
  ["comes to nothing releases the order", "losing", ["hold.released", "dispute.closed"], "CLOSED"],
  ["becomes a dispute keeps it held", "escalate_inquiry", ["dispute.opened"], "OPEN"],
] as const)("an inquiry that %s", async (_what, ending, told, state) => {
  const { id, paymentId } = await paid();
  const end = await dispute(shop, paymentId, "?inquiry=true");
  await waitFor("the hold", async () => (await disputesOf(id)).includes("dispute.inquiry"));
  await end(ending);
  await waitFor("what follows", async () => (await disputesOf(id)).length === 2 + told.length);
  expect(await disputesOf(id)).toEqual(["hold.placed", "dispute.inquiry", ...told]);
  expect((await paymentsOf(shop, id)).payments).toMatchObject([{ dispute: state, disputed: 3_000 }]);
});
