import { afterAll, afterEach, beforeAll, describe, expect, jest, test } from "@jest/globals";
import { z } from "zod";
import { listEvents } from "../../../db/order-events.ts";
import { changePayment, findByProviderId, listPayments, recordDispute } from "../../../db/payments.ts";
import { listRefunds } from "../../../db/refunds.ts";
import { applyTransitions } from "../../../db/transitions.ts";
import type { NewOrder, StoredOrder } from "../../../src/order/order.ts";
import type { PaymentChange } from "../../../src/order/payment.ts";
import { ServiceUnavailableError, type PaymentProvider, type Payments } from "../../../src/order/ports.ts";
import { RefundRefusedError, Refunds } from "../../../src/providers/payments/refunds.ts";
import { checkedProviders } from "../../../src/providers/checked.ts";
import { PaymentDesk } from "../../../src/providers/payments/desk.ts";
import { deskOf, orderWith, stripeOf } from "../../support/desk.ts";
import { createTestEnvironment, type TestEnvironment } from "../../support/environment.ts";
import { waitFor } from "../../support/wait-for.ts";

let environment: TestEnvironment;
beforeAll(async () => {
  environment = await createTestEnvironment();
});
afterAll(() => environment.close());
afterEach(() => {
  environment.providers.setFault("payments", { kind: "none" });
  environment.providers.forgetKeysAfter(86_400_000);
});

const request = (order: StoredOrder, attempt = 1) => ({
  order,
  attempt,
  signal: new AbortController().signal,
});
const chargesOf = ({ id }: StoredOrder) =>
  environment.providers.books.charges.filter(({ orderId }) => orderId === id);
const refundsOf = ({ id }: StoredOrder) =>
  environment.providers.books.refunds.filter(({ orderId }) => orderId === id);
const paymentOf = async ({ id }: StoredOrder) => (await listPayments(environment.database, [id])).at(-1);

/** Pays as the engine does: again and again, until there is an answer. */
async function payUntilAnswered(desk: Payments, order: StoredOrder, most = 40) {
  for (let attempt = 1; attempt <= most; attempt++) {
    try {
      return await desk.pay(request(order, attempt));
    } catch (error) {
      if (attempt === most) throw error;
    }
  }
  throw new Error("never answered");
}

/** Writes what a payment has come to, with the order's status. */
async function moved({ id }: StoredOrder, payment: PaymentChange): Promise<void> {
  const to = { orderId: id, from: "CREATED", to: "RESERVED", stage: "pay", reason: null, record: {} };
  const transition = { ...to, unlessCancelled: false, payment, at: new Date() };
  expect(await applyTransitions(environment.database, [transition])).toMatchObject([{ made: true }]);
}

const simulated = (providerId: string | null | undefined, what: string) =>
  fetch(`${environment.providers.paymentsUrl}/simulator/payment_intents/${providerId}/${what}`, {
    method: "POST",
  });

/** Pays with another card, as Stripe.js does. @returns the status of the answer */
async function confirmed(providerId: string | null | undefined): Promise<number> {
  const { paymentsUrl } = environment.providers;
  const { status } = await fetch(`${paymentsUrl}/v1/payment_intents/${providerId}/confirm`, {
    method: "POST",
    headers: { authorization: "Bearer sk_test_desk" },
    body: new URLSearchParams({ payment_method: "pm_card_mastercard" }),
  });
  return status;
}
async function paysAnew(providerId: string | null | undefined) {
  expect(await confirmed(providerId)).toBe(200);
}
/** The payment, as Stripe tells of it. */
async function toldBy(providerId: string | null | undefined): Promise<unknown> {
  const response = await fetch(`${environment.providers.paymentsUrl}/v1/payment_intents/${providerId}`, {
    headers: { authorization: "Bearer sk_test_desk" },
  });
  return response.json();
}

const USED = "the payment method was used before, and belongs to no Customer at Stripe";

describe("a payment at Stripe", () => {
  test("is captured, and written with the order's status", async () => {
    const order = await orderWith(environment, "pm_card_visa");
    expect(await deskOf(environment).pay(request(order))).toMatchObject({
      state: "CAPTURED",
      providerId: expect.stringMatching(/^pi_/),
      captured: 2_500,
    });
    expect(await paymentOf(order)).toMatchObject({ state: "PENDING", providerId: chargesOf(order)[0]?.key });
  });

  test.each([
    ["lost answers", { kind: "lost-reply", rate: 0.6 }],
    ["server errors, which stay under their keys,", { kind: "errors", rate: 0.6 }],
  ] as const)("takes the money once, whatever %s and forgotten keys", async (_what, fault) => {
    environment.providers.forgetKeysAfter(fault.kind === "errors" ? 86_400_000 : 0);
    environment.providers.setFault("payments", fault);
    const desk = deskOf(environment);
    const orders = await Promise.all(Array.from({ length: 8 }, () => orderWith(environment, "pm_card_visa")));
    for (const order of orders) {
      expect(await payUntilAnswered(desk, order)).toMatchObject({ state: "CAPTURED", captured: 2_500 });
      expect(chargesOf(order)).toHaveLength(1);
    }
  });

  test("takes the money once when two workers pay at the same moment", async () => {
    const order = await orderWith(environment, "pm_card_visa");
    const desks = [deskOf(environment), deskOf(environment)];
    const paid = await Promise.all(desks.map((desk) => payUntilAnswered(desk, order)));
    expect(paid).toMatchObject([{ state: "CAPTURED" }, { state: "CAPTURED" }]);
    expect(chargesOf(order)).toHaveLength(1);
  });

  test("that is declined says why, to people and to programs, and is asked for no more", async () => {
    const order = await orderWith(environment, "pm_card_chargeDeclinedInsufficientFunds");
    const declined = {
      state: "DECLINED",
      code: "insufficient_funds",
      reason: "Your card has insufficient funds.",
    };
    expect(await deskOf(environment).pay(request(order))).toMatchObject(declined);
    expect(await paymentOf(order)).toMatchObject(declined);
    environment.providers.setFault("payments", { kind: "down" });
    expect(await deskOf(environment).pay(request(order, 2))).toMatchObject(declined);
    const events = await listEvents(environment.database, order.id);
    expect(events.map(({ type }) => type)).toEqual(["status", "payment.declined"]);
    expect(JSON.stringify(events)).not.toContain("pm_card");
  });

  test("tells Stripe whom it is for, where the goods go, and what the client has noted", async () => {
    const many = Object.fromEntries(Array.from({ length: 50 }, (_, index) => [`note-${index}`, "x"]));
    const order = await orderWith(environment, "pm_card_visa", {
      reference: "SO-1",
      customerId: "cust-7",
      customer: { name: "Ada", email: "ada@example.org" },
      shipTo: { name: "Ada", line1: "1 Lane", city: "York", postalCode: "Y1", country: "GB" },
      metadata: { "a[b]": "no key of Stripe's", order_id: "another", ...many },
    });
    const { providerId } = await deskOf(environment).pay(request(order));
    const told = await toldBy(providerId);
    expect(told).toMatchObject({
      description: "Order SO-1",
      receipt_email: "ada@example.org",
      metadata: { order_id: order.id, customer_id: "cust-7", reference: `${order.id}:pay`, "note-0": "x" },
      shipping: { name: "Ada", address: { line1: "1 Lane", city: "York", postal_code: "Y1", country: "GB" } },
    });
    const { metadata } = z.object({ metadata: z.record(z.string(), z.string()) }).parse(told);
    expect(Object.keys(metadata)).toHaveLength(50);
    expect(metadata).not.toHaveProperty("a[b]");
  });

  test("that its customer has to confirm tells the client what to do, and nobody else", async () => {
    const order = await orderWith(environment, "pm_card_authenticationRequired");
    const desk = deskOf(environment);
    const pending = await desk.pay(request(order));
    expect(pending).toMatchObject({
      state: "PENDING",
      action: { type: "stripe", clientSecret: expect.stringMatching(/^pi_.*_secret_/) },
    });
    expect((await paymentOf(order))?.action).toEqual(pending.action);
    expect(JSON.stringify(await listEvents(environment.database, order.id))).not.toContain("_secret_");
    await simulated(pending.providerId, "authenticate");
    expect(await desk.pay(request(order))).toMatchObject({ state: "CAPTURED", action: null });
    expect(chargesOf(order)).toHaveLength(1);
  });

  /** A customer who has failed to confirm, or whose card was declined, and has the client's secret. */
  async function declinedOnce() {
    const order = await orderWith(environment, "pm_card_authenticationRequired");
    const desk = deskOf(environment);
    const { providerId } = await desk.pay(request(order));
    await simulated(providerId, "authenticate?succeed=false");
    return { order, desk, providerId };
  }

  test("without a payment method waits for its customer, who chooses one", async () => {
    const order = await orderWith(environment, null);
    const desk = deskOf(environment);
    const { providerId } = await desk.pay(request(order));
    for (let time = 0; time < 2; time++)
      expect(await desk.pay(request(order))).toMatchObject({
        state: "PENDING",
        providerId,
        reason: null,
        action: { type: "stripe", clientSecret: expect.stringMatching(/_secret_/) },
      });
    expect(chargesOf(order)).toEqual([]);
    await paysAnew(providerId);
    expect(await desk.pay(request(order))).toMatchObject({ state: "CAPTURED", providerId, action: null });
    expect(chargesOf(order)).toHaveLength(1);
  });

  test("without a payment method that is undone can't be paid any more", async () => {
    const order = await orderWith(environment, null);
    const desk = deskOf(environment);
    const { providerId } = await desk.pay(request(order));
    expect(await desk.undo(request(order))).toEqual({});
    expect(await confirmed(providerId)).toBe(400);
    expect(chargesOf(order)).toEqual([]);
  });

  test.each([
    ["payment method", "pm_1Rc0ffee0123456789"],
    ["token", "tok_1Rc0ffee0123456789"],
  ])("whose %s was used before waits for its customer, and says why", async (_what, token) => {
    const desk = deskOf(environment);
    expect(await desk.pay(request(await orderWith(environment, token)))).toMatchObject({ state: "CAPTURED" });
    const order = await orderWith(environment, token);
    for (let time = 0; time < 2; time++)
      expect(await desk.pay(request(order))).toMatchObject({
        state: "PENDING",
        reason: USED,
        action: { clientSecret: expect.any(String) },
      });
    const waiting = await paymentOf(order);
    expect(waiting).toMatchObject({ state: "PENDING", reason: USED });
    await paysAnew(waiting?.providerId ?? null);
    expect(await desk.pay(request(order))).toMatchObject({ state: "CAPTURED", reason: null });
    expect(chargesOf(order)).toHaveLength(1);
  });

  test("is taken without a receipt if Stripe takes no such address", async () => {
    const customer = { email: "ada@localhost" };
    const order = await orderWith(environment, "pm_card_visa", { customer });
    const { state, providerId } = await deskOf(environment).pay(request(order));
    expect(state).toBe("CAPTURED");
    expect(await toldBy(providerId)).toMatchObject({ receipt_email: null });
    expect(chargesOf(order)).toHaveLength(1);
  });

  test("that its customer fails to confirm may be tried again, with another card too", async () => {
    const { order, desk, providerId } = await declinedOnce();
    for (let time = 0; time < 2; time++)
      expect(await desk.pay(request(order))).toMatchObject({
        state: "PENDING",
        reason: expect.any(String),
        action: { clientSecret: expect.any(String) },
      });
    expect(await paymentOf(order)).toMatchObject({ state: "PENDING", reason: expect.any(String) });
    await paysAnew(providerId);
    expect(await desk.pay(request(order))).toMatchObject({ state: "CAPTURED", reason: null, action: null });
    expect(chargesOf(order)).toHaveLength(1);
  });

  test("that was declined, and that its customer then paid with another card, is paid back when it is undone", async () => {
    const { order, desk, providerId } = await declinedOnce();
    await desk.pay(request(order));
    // As earlier versions wrote it.
    await environment.database.transaction((transaction) =>
      transaction.commit([
        { sql: "UPDATE payments SET state = 'DECLINED' WHERE order_id = ?", values: [order.id] },
      ]),
    );
    await paysAnew(providerId);
    expect(await desk.undo(request(order))).toEqual({ refundId: expect.any(String) });
    expect([chargesOf(order).length, refundsOf(order).length]).toEqual([1, 1]);
    expect(await paymentOf(order)).toMatchObject({ state: "CAPTURED" });
  });

  test("that is only authorized is captured later, less what was refunded since", async () => {
    const order = await orderWith(environment, "pm_card_visa");
    const desk = deskOf(environment, { capture: "on-shipment" });
    const authorized = await desk.pay(request(order));
    expect(authorized).toMatchObject({ state: "AUTHORIZED", expiresAt: expect.any(Date) });
    expect(chargesOf(order)).toEqual([]);
    await moved(order, authorized);
    const refunds = new Refunds(environment.database, () => undefined);
    const wish = { reason: "one was missing", actor: null };
    await refunds.request(order, { ...wish, amount: 500 });
    await expect(refunds.request(order, { ...wish, amount: 2_001 })).rejects.toThrow(RefundRefusedError);
    for (let time = 0; time < 2; time++) expect(await desk.capture(request(order))).toBe("captured");
    expect(await paymentOf(order)).toMatchObject({ state: "CAPTURED", captured: 2_000 });
    expect(chargesOf(order)).toMatchObject([{ amount: 2_000 }]);
    await expect(refunds.request(order, { ...wish, amount: 2_001 })).rejects.toThrow(RefundRefusedError);
    expect(await desk.undo(request(order))).toEqual({ refundId: expect.any(String) });
    expect(refundsOf(order)).toMatchObject([{ amount: 2_000 }]);
  });

  describe("that is refunded in part while it is captured", () => {
    /** The answer to the first capture is lost, or comes after the refund. */
    async function capturedLate(given: (provider: PaymentProvider) => PaymentProvider, isLost: boolean) {
      const order = await orderWith(environment, "pm_card_visa");
      const refunds = new Refunds(environment.database, () => undefined);
      const stripe = stripeOf(environment);
      let isFirst = true;
      const capture: PaymentProvider["capture"] = async (about) => {
        const answer = await stripe.capture(about);
        if (!isFirst) return answer;
        isFirst = false;
        await refunds.request(order, { reason: "one was missing", actor: null, amount: 500 });
        if (isLost) throw new ServiceUnavailableError("payments", "the answer was lost");
        return answer;
      };
      const provider = given({ ...stripe, capture });
      const desk = new PaymentDesk({ provider, database: environment.database, capture: "on-shipment" });
      await moved(order, await desk.pay(request(order)));
      await waitFor("the money", () => desk.capture(request(order)).catch(() => undefined));
      return order;
    }

    test.each([
      ["the answer comes after the refund", false],
      ["the first answer is lost", true],
    ])("pays that back when %s", async (_when, isLost) => {
      const order = await capturedLate((provider) => provider, isLost);
      expect(await paymentOf(order)).toMatchObject({ state: "CAPTURED", captured: 2_500 });
      expect(await listRefunds(environment.database, [order.id])).toMatchObject([
        { cause: "uncaptured", state: "SUCCEEDED", amount: 500 },
        { cause: "requested", state: "PENDING", amount: 500 },
      ]);
      const types = (await listEvents(environment.database, order.id)).map(({ type }) => type);
      expect(types.filter((type) => type === "refund.created")).toHaveLength(2);
    });

    test("pays that back too at a provider that answers under its key as before, and not how much", async () => {
      const answers = new Map<string, number>();
      const forgetful = (provider: PaymentProvider): PaymentProvider => ({
        ...provider,
        async capture(about) {
          // What such a provider took is what it was asked for first.
          if (!answers.has(about.key)) answers.set(about.key, about.amount);
          else return { state: "captured", id: about.id, amount: about.amount };
          return provider.capture(about);
        },
      });
      const order = await capturedLate(forgetful, true);
      expect(chargesOf(order)).toMatchObject([{ amount: 2_500 }]);
      expect(await paymentOf(order)).toMatchObject({ state: "CAPTURED", captured: 2_500 });
      expect(await listRefunds(environment.database, [order.id])).toMatchObject([
        { cause: "uncaptured" },
        { cause: "requested", amount: 500 },
      ]);
    });
  });

  describe("whose authorization has run out", () => {
    async function expired(token: string) {
      const order = await orderWith(environment, token);
      const desk = deskOf(environment, { capture: "on-shipment" });
      let authorized = await desk.pay(request(order));
      if (authorized.state === "PENDING") {
        await simulated(authorized.providerId, "authenticate");
        authorized = await desk.pay(request(order));
      }
      expect(authorized.state).toBe("AUTHORIZED");
      await moved(order, authorized);
      await simulated(authorized.providerId, "expire");
      return { order, desk };
    }
    const paymentsOf = ({ id }: StoredOrder) => listPayments(environment.database, [id]);

    test("is renewed before it is taken, less what was refunded since", async () => {
      const { order, desk } = await expired("pm_card_visa");
      const refunds = new Refunds(environment.database, () => undefined);
      await refunds.request(order, { reason: "one was missing", actor: null, amount: 500 });
      for (let time = 0; time < 2; time++) expect(await desk.capture(request(order))).toBe("captured");
      expect(await paymentsOf(order)).toMatchObject([
        { sequence: 1, state: "EXPIRED", captured: 0 },
        { sequence: 2, state: "CAPTURED", captured: 2_000 },
      ]);
      expect(chargesOf(order)).toMatchObject([{ amount: 2_000 }]);
      const types = (await listEvents(environment.database, order.id)).map(({ type }) => type);
      expect(types.filter((type) => type.startsWith("payment"))).toEqual([
        "payment.authorized",
        "payment.expired",
        "payment.authorized",
        "payment.captured",
      ]);
      expect(await desk.undo(request(order))).toEqual({ refundId: expect.any(String) });
      expect(refundsOf(order)).toMatchObject([{ amount: 2_000 }]);
    });

    test("is renewed once, whatever answers are lost, keys forgotten and workers at it", async () => {
      const { order, desk } = await expired("pm_card_visa");
      environment.providers.forgetKeysAfter(0);
      environment.providers.setFault("payments", { kind: "lost-reply", rate: 0.5 });
      const other = deskOf(environment, { capture: "on-shipment" });
      const capturing = [desk, other].map((each) =>
        waitFor("the money", async () => {
          try {
            return await each.capture(request(order));
          } catch {
            return undefined;
          }
        }),
      );
      expect(await Promise.all(capturing)).toEqual(["captured", "captured"]);
      expect(chargesOf(order)).toMatchObject([{ amount: 2_500 }]);
      expect(await paymentsOf(order)).toHaveLength(2);
    });

    test("can be refunded meanwhile: so much less is taken", async () => {
      const { order, desk } = await expired("pm_card_authenticationRequired");
      const refunds = new Refunds(environment.database, () => undefined);
      const wish = { reason: "one was missing", actor: null, amount: 500 };
      await desk.capture(request(order));
      expect(await paymentOf(order)).toMatchObject({ sequence: 2, state: "PENDING" });
      expect(await refunds.request(order, wish)).toMatchObject({
        refund: { cause: "uncaptured", state: "SUCCEEDED" },
      });
      await simulated((await paymentOf(order))?.providerId, "authenticate");
      expect(await desk.capture(request(order))).toBe("captured");
      expect(chargesOf(order)).toMatchObject([{ amount: 2_000 }]);
    });

    test("waits for a customer who has to confirm it anew", async () => {
      const { order, desk } = await expired("pm_card_authenticationRequired");
      for (let time = 0; time < 2; time++)
        expect(await desk.capture(request(order))).toEqual({
          waitsFor: "the customer to confirm the new payment",
        });
      const renewed = await paymentOf(order);
      expect(renewed).toMatchObject({ state: "PENDING", action: { clientSecret: expect.any(String) } });
      await simulated(renewed?.providerId, "authenticate");
      expect(await desk.capture(request(order))).toBe("captured");
      expect(chargesOf(order)).toHaveLength(1);
    });

    test("waits for a customer whose card is declined by now, who may pay with another one", async () => {
      const { order, desk } = await expired("pm_card_visa");
      const declined = { ...order, paymentToken: "pm_card_chargeDeclinedExpiredCard" };
      for (let time = 0; time < 2; time++)
        expect(await desk.capture(request(declined))).toEqual({
          waitsFor: "the customer to pay anew: the authorization ran out, and then: Your card has expired.",
        });
      const renewed = await paymentOf(order);
      expect(renewed).toMatchObject({
        state: "PENDING",
        code: "expired_card",
        action: { clientSecret: expect.any(String) },
      });
      await paysAnew(renewed?.providerId);
      expect(await desk.capture(request(declined))).toBe("captured");
      expect(await paymentOf(order)).toMatchObject({ state: "CAPTURED", reason: null, action: null });
      expect(chargesOf(order)).toHaveLength(1);
    });

    test.each([
      ["payment method", "pm_1Renewed0123456789"],
      ["token", "tok_1Renewed0123456789"],
    ])("waits for a customer whose %s can be used once only", async (_what, token) => {
      const { order, desk } = await expired(token);
      for (let time = 0; time < 3; time++)
        expect(await desk.capture(request(order))).toEqual({
          waitsFor: `the customer to pay anew: the authorization ran out, and then: ${USED}`,
        });
      const renewed = await paymentOf(order);
      expect(renewed).toMatchObject({
        sequence: 2,
        state: "PENDING",
        reason: USED,
        action: { clientSecret: expect.any(String) },
      });
      await paysAnew(renewed?.providerId);
      expect(await desk.capture(request(order))).toBe("captured");
      expect(await paymentOf(order)).toMatchObject({ state: "CAPTURED", reason: null, action: null });
      expect(chargesOf(order)).toHaveLength(1);
    });

    test("is not renewed once the order is undone", async () => {
      const { order, desk } = await expired("pm_card_authenticationRequired");
      await desk.capture(request(order));
      expect(await desk.undo(request(order))).toEqual({});
      await expect(desk.capture(request(order))).rejects.toMatchObject({ name: "AlreadyUndoneError" });
      expect((await simulated((await paymentOf(order))?.providerId, "authenticate")).status).toBe(400);
      expect(chargesOf(order)).toEqual([]);
    });
  });

  test("that ran out, and whose order was undone before it was renewed, is never renewed", async () => {
    const order = await orderWith(environment, "pm_card_visa");
    const desk = deskOf(environment, { capture: "on-shipment" });
    const authorized = await desk.pay(request(order));
    await moved(order, authorized);
    await simulated(authorized.providerId, "expire");
    // A worker found out, and died.
    const stored = await paymentOf(order);
    if (stored === undefined) throw new Error("there is no payment");
    expect(await changePayment(environment.database, stored, { state: "EXPIRED" })).toBe(true);
    expect(await desk.undo(request(order))).toEqual({});
    await expect(desk.capture(request(order))).rejects.toMatchObject({ name: "AlreadyUndoneError" });
    expect(await listPayments(environment.database, [order.id])).toMatchObject([{ state: "CANCELLED" }]);
  });

  test("that has nothing left to take is called off, and counts as taken", async () => {
    const order = await orderWith(environment, "pm_card_visa");
    const desk = deskOf(environment, { capture: "on-shipment" });
    await moved(order, await desk.pay(request(order)));
    const refunds = new Refunds(environment.database, () => undefined);
    await refunds.request(order, { reason: "all of it was missing", actor: null });
    for (let time = 0; time < 2; time++) expect(await desk.capture(request(order))).toBe("captured");
    expect(await paymentOf(order)).toMatchObject({ state: "CANCELLED" });
    expect(chargesOf(order)).toEqual([]);
  });

  test.each([
    ["429", 429, "NotNowError", /answered 429: slow down \(req_1\)/],
    ["401", 401, "ServiceMisconfiguredError", /answered 401: .*\(req_1\)/],
    ["403", 403, "ServiceMisconfiguredError", /answered 403: .*\(req_1\)/],
    ["400", 400, "RequestRefusedError", /answered 400: .*\(req_1\)/],
    ["500", 500, "ServiceUnavailableError", /^payments answered 500$/],
  ])("tells errors by kind: %s", async (_what, status, name, message) => {
    const { createServer } = await import("node:http");
    const { stripePayments } = await import("../../../src/providers/stripe.ts");
    const server = createServer((_request, response) => {
      const headers = { "content-type": "application/json", "request-id": "req_1", "retry-after": "7" };
      response
        .writeHead(status, headers)
        .end(JSON.stringify({ error: { type: "api_error", message: "slow down" } }));
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    try {
      const address = server.address();
      const url = `http://127.0.0.1:${typeof address === "object" ? address?.port : ""}`;
      const stripe = stripePayments({ secretKey: "sk_test_1", webhookSecrets: [], url, timeoutMs: 5_000 });
      const about = { orderId: "o", reference: "o:pay", id: "pi_1", amount: 1, currency: "EUR" };
      const error: unknown = await stripe.find({ ...about, signal: new AbortController().signal }).then(
        () => undefined,
        (failure: unknown) => failure,
      );
      expect(error).toMatchObject({ name, message: expect.stringMatching(message) });
      if (status === 429) expect(error).toMatchObject({ waitMs: 7_000 });
    } finally {
      server.closeAllConnections();
      server.close();
    }
  });
});

describe("a request for a refund", () => {
  const wish = { reason: "one was missing", actor: null, amount: 500 };
  const refunds = () =>
    new Refunds(environment.database, () => undefined, { provider: stripeOf(environment) });
  async function authorized(given: Partial<NewOrder> = {}) {
    const order = await orderWith(environment, "pm_card_visa", given);
    const desk = deskOf(environment, { capture: "on-shipment" });
    await moved(order, await desk.pay(request(order)));
    return { order, desk };
  }

  test("with restock is refused where an inventory elsewhere is not told of it", async () => {
    const { order } = await authorized();
    const { database } = environment;
    const elsewhere = new Refunds(database, () => undefined, { restocks: false });
    const pieces = { ...wish, amount: undefined, lines: [{ sku: "MUG-BLUE", quantity: 1 }] };
    await expect(elsewhere.request(order, { ...pieces, restock: true })).rejects.toThrow(
      "put the pieces back there, and refund them without restock",
    );
    expect(await listRefunds(database, [order.id])).toEqual([]);
    expect(await elsewhere.request(order, pieces)).toMatchObject({ refund: { amount: 1_250 } });
  });

  test("that is repeated under its key gets its answer, also once the payment was called off", async () => {
    const { order, desk } = await authorized();
    const idempotency = { client: "shop", key: order.id, requestHash: "x" };
    const first = await refunds().request(order, { ...wish, idempotency });
    await desk.undo(request(order));
    expect(await refunds().request(order, { ...wish, idempotency })).toEqual({ ...first, repeated: true });
    const other = { ...idempotency, requestHash: "y" };
    await expect(refunds().request(order, { ...wish, idempotency: other })).rejects.toThrow("another body");
  });

  test("is met though the money is captured while it comes", async () => {
    const { order, desk } = await authorized();
    const { database } = environment;
    const spy = jest.spyOn(database, "transaction").mockImplementationOnce(async (work, options) => {
      await desk.capture(request(order));
      return database.transaction(work, options);
    });
    try {
      expect(await refunds().request(order, wish)).toMatchObject({
        refund: { cause: "requested", state: "PENDING", amount: 500 },
      });
    } finally {
      spy.mockRestore();
    }
    expect(await paymentOf(order)).toMatchObject({ state: "CAPTURED", captured: 2_500 });
  });

  test("of pieces whose share the provider can't move pays what it can", async () => {
    const lines = [{ sku: "DATES", quantity: 3, unitPrice: 3_335 }];
    const adjustments = [{ kind: "discount" as const, amount: -5 }];
    const { order } = await authorized({ lines, adjustments, currency: "KWD", total: 10_000 });
    const { refund } = await refunds().request(order, {
      reason: "one was missing",
      actor: null,
      lines: [{ sku: "DATES", quantity: 1 }],
    });
    expect(refund).toMatchObject({ amount: 3_330, lines: [{ worth: 3_333 }] });
  });

  test("of an order that was paid when payments were not written down is met", async () => {
    const order = await orderWith(environment, "pm_card_visa");
    const paid = await deskOf(environment).pay(request(await orderWith(environment, "pm_card_visa")));
    const records = { pay: { chargeId: paid.providerId, amount: 2_500, currency: "EUR" } };
    const cancelled = { ...order, status: "CANCELLED", records };
    await expect(refunds().request(cancelled, wish)).rejects.toThrow("nothing was paid");
    const old = { ...order, status: "PAID", records };
    expect(await refunds().request(old, wish)).toMatchObject({ refund: { state: "PENDING", amount: 500 } });
    expect(await paymentOf(order)).toMatchObject({ state: "CAPTURED", providerId: paid.providerId });
  });
});

describe("undoing a payment at Stripe", () => {
  test("pays back what was taken, once, and refuses what comes later", async () => {
    const order = await orderWith(environment, "pm_card_visa");
    const desk = deskOf(environment);
    await desk.pay(request(order));
    const undone = await desk.undo(request(order));
    expect(undone).toEqual({ refundId: expect.stringMatching(/^re_/) });
    expect(await desk.undo(request(order))).toEqual(undone);
    expect(refundsOf(order)).toMatchObject([{ amount: 2_500 }]);
    expect(await listRefunds(environment.database, [order.id])).toMatchObject([
      { state: "SUCCEEDED", cause: "cancelled", providerId: undone.refundId },
    ]);
  });

  test("before it was made refuses it", async () => {
    const order = await orderWith(environment, "pm_card_visa");
    const desk = deskOf(environment);
    expect(await desk.undo(request(order))).toEqual({});
    await expect(desk.pay(request(order))).rejects.toMatchObject({ name: "AlreadyUndoneError" });
    expect(chargesOf(order)).toEqual([]);
  });

  test("while it is under way takes no money, or pays it back", async () => {
    for (let round = 0; round < 12; round++) {
      const order = await orderWith(environment, "pm_card_visa");
      environment.providers.setLatency(round);
      const desk = deskOf(environment);
      const paying = desk.pay(request(order)).catch((error: unknown) => error);
      await new Promise((resolve) => setTimeout(resolve, round * 3));
      await desk.undo(request(order));
      await paying;
      await desk.undo(request(order));
      environment.providers.setLatency(0);
      expect(refundsOf(order).length).toBe(chargesOf(order).length);
      await expect(desk.pay(request(order, 2)))
        .resolves.toBeDefined()
        .catch(() => undefined);
      expect(chargesOf(order).length).toBe(refundsOf(order).length);
    }
  });

  test("pays it back once, whatever answers are lost and keys forgotten", async () => {
    const desk = deskOf(environment);
    const order = await orderWith(environment, "pm_card_visa");
    await desk.pay(request(order));
    environment.providers.forgetKeysAfter(0);
    environment.providers.setFault("payments", { kind: "lost-reply", rate: 0.7 });
    await waitFor("it to be undone", () =>
      desk.undo(request(order)).then(
        () => true,
        () => false,
      ),
    );
    expect(refundsOf(order)).toMatchObject([{ amount: 2_500 }]);
  });

  test("that waits for its customer cancels it; one that its customer confirmed meanwhile is paid back", async () => {
    const desk = deskOf(environment);
    for (const isLate of [false, true]) {
      const order = await orderWith(environment, "pm_card_authenticationRequired");
      const { providerId } = await desk.pay(request(order));
      if (isLate) await simulated(providerId, "authenticate");
      await desk.undo(request(order));
      expect([chargesOf(order).length, refundsOf(order).length]).toEqual(isLate ? [1, 1] : [0, 0]);
      expect((await simulated(providerId, "authenticate")).status).toBe(400);
    }
  });

  test("that a bank has to decide waits for the bank", async () => {
    const desk = deskOf(environment);
    const order = await orderWith(environment, "pm_usBankAccount_success");
    expect(await desk.pay(request(order))).toMatchObject({ state: "PENDING", action: null });
    await expect(desk.undo(request(order))).rejects.toMatchObject({
      name: "UndecidedError",
      waitsFor: "the payment to be decided",
    });
    await waitFor("the bank", () => chargesOf(order).length === 1);
    await desk.undo(request(order));
    expect(refundsOf(order)).toHaveLength(1);
  });

  test("that a bank then refuses is called off, though its key stands for a refusal", async () => {
    const desk = deskOf(environment);
    const order = await orderWith(environment, "pm_usBankAccount_insufficientFunds");
    const { providerId } = await desk.pay(request(order));
    await expect(desk.undo(request(order))).rejects.toMatchObject({ name: "UndecidedError" });
    await waitFor("the bank", () =>
      desk.undo(request(order)).then(
        () => true,
        () => false,
      ),
    );
    expect(await paymentOf(order)).toMatchObject({ state: "CANCELLED" });
    expect(await toldBy(providerId)).toMatchObject({ status: "canceled" });
  });

  test("of an order that was paid when payments were not written down pays it back", async () => {
    const order = await orderWith(environment, "pm_card_visa");
    const paid = await deskOf(environment).pay(request(await orderWith(environment, "pm_card_visa")));
    const old = { ...order, records: { pay: { chargeId: paid.providerId, amount: 2_500, currency: "EUR" } } };
    expect(await deskOf(environment).undo(request(old))).toEqual({ refundId: expect.stringMatching(/^re_/) });
    expect(await paymentOf(order)).toMatchObject({ state: "CAPTURED", providerId: paid.providerId });
  });

  test.each([
    ["lost: the customer has the money", "losing", 0],
    ["won: it is refunded", "winning", 1],
  ])("that is disputed is not called off before the dispute is %s", async (_what, ending, refunds) => {
    const desk = deskOf(environment);
    const order = await orderWith(environment, "pm_card_visa");
    const paid = await desk.pay(request(order));
    await moved(order, paid);
    const dispute = z.object({ id: z.string() });
    const { id } = dispute.parse(await (await simulated(paid.providerId, "dispute")).json());
    const known = await findByProviderId(environment.database, paid.providerId ?? "");
    if (known === undefined) throw new Error("the payment is not written down");
    await recordDispute(environment.database, known, { state: "OPEN", amount: 2_500 });
    await expect(desk.undo(request(order))).rejects.toMatchObject({
      name: "UndecidedError",
      waitsFor: "the dispute of the payment to end",
    });
    expect(await listRefunds(environment.database, [order.id])).toEqual([]);
    // The webhook that tells of its end is lost.
    await fetch(`${environment.providers.paymentsUrl}/v1/disputes/${id}`, {
      method: "POST",
      headers: { authorization: "Bearer sk_test_desk" },
      body: new URLSearchParams({ "evidence[uncategorized_text]": `${ending}_evidence` }),
    });
    await desk.undo(request(order));
    expect(refundsOf(order)).toHaveLength(refunds);
  });

  test("of which a part was lost in a dispute pays the rest back", async () => {
    const desk = deskOf(environment);
    const order = await orderWith(environment, "pm_card_visa");
    const paid = await desk.pay(request(order));
    await moved(order, paid);
    const { id } = z
      .object({ id: z.string() })
      .parse(await (await simulated(paid.providerId, "dispute?amount=1000")).json());
    const known = await findByProviderId(environment.database, paid.providerId ?? "");
    if (known === undefined) throw new Error("the payment is not written down");
    await recordDispute(environment.database, known, { state: "OPEN", amount: 1_000 });
    await fetch(`${environment.providers.paymentsUrl}/v1/disputes/${id}`, {
      method: "POST",
      headers: { authorization: "Bearer sk_test_desk" },
      body: new URLSearchParams({ "evidence[uncategorized_text]": "losing_evidence" }),
    });
    expect(await desk.undo(request(order))).toEqual({ refundId: expect.any(String) });
    expect(refundsOf(order)).toMatchObject([{ amount: 1_500 }]);
    expect(await paymentOf(order)).toMatchObject({ dispute: "LOST", disputed: 1_000 });
  });

  test("that the bank asks about is paid back at once", async () => {
    const desk = deskOf(environment);
    const order = await orderWith(environment, "pm_card_visa");
    const paid = await desk.pay(request(order));
    await moved(order, paid);
    await simulated(paid.providerId, "dispute?inquiry=true");
    const known = await findByProviderId(environment.database, paid.providerId ?? "");
    if (known === undefined) throw new Error("the payment is not written down");
    await recordDispute(environment.database, known, { state: "INQUIRY", amount: 2_500 });
    expect(await desk.undo(request(order))).toEqual({ refundId: expect.any(String) });
    expect(refundsOf(order)).toMatchObject([{ amount: 2_500 }]);
  });

  test("whose refund fails fails, and tries again under a new key", async () => {
    const desk = deskOf(environment);
    const order = await orderWith(environment, "tok_pendingRefundFail");
    await desk.pay(request(order));
    await desk.undo(request(order));
    await waitFor("the refund to fail", async () => {
      await desk.undo(request(order)).catch(() => undefined);
      const all = await listRefunds(environment.database, [order.id]);
      return all.some(({ state }) => state === "FAILED");
    });
  });
});

test.each<[string, object, string]>([
  ["an id that is too long", { state: "pending", id: "x".repeat(300), action: { url: "x" } }, "id must be"],
  ["more than was asked for", { state: "captured", id: "pi_1", amount: 2_501 }, "amount is more than"],
  ["a code that is too long", { state: "declined", reason: "no", code: "x".repeat(65) }, "code must be"],
])("nothing is written of a provider's answer with %s", async (_what, answer, fault) => {
  const order = await orderWith(environment, "pm_card_visa");
  // oxlint-disable-next-line no-unsafe-type-assertion -- what others return has no type
  const given = async () => answer as never;
  const others = {
    inventory: { ping: given, move: given, release: given },
    carrier: { name: "x", ping: given, create: given, buy: given, void: given, track: given, find: given },
    httpStages: { ping: given, call: given },
  };
  const payments = { ...stripeOf(environment), authorize: given, cancel: given };
  const { payments: provider } = checkedProviders({ ...others, payments });
  const desk = new PaymentDesk({ provider, database: environment.database });
  await expect(desk.pay(request(order))).rejects.toThrow(
    `payments (stripe) returned what can't be used: ${fault}`,
  );
  await expect(desk.undo(request(order))).rejects.toThrow(fault);
  expect(await paymentOf(order)).toMatchObject({
    state: "PENDING",
    providerId: null,
    action: null,
    code: null,
  });
});
