import { afterAll, beforeAll, beforeEach, describe, expect, test } from "@jest/globals";
import { z } from "zod";
import { findPosition } from "../../../db/relay-positions.ts";
import { RequestRefusedError, type PaymentProvider, type WebhookSubject } from "../../../src/order/ports.ts";
import { UNDISPUTED } from "../../../src/platform/lease.ts";
import { createLogger } from "../../../src/platform/log.ts";
import { MissedWebhooks } from "../../../src/providers/payments/missed-webhooks.ts";
import { stripeOf } from "../../support/desk.ts";
import { createTestEnvironment, type TestEnvironment } from "../../support/environment.ts";
import { waitFor } from "../../support/wait-for.ts";

let environment: TestEnvironment;
beforeAll(async () => {
  environment = await createTestEnvironment();
});
afterAll(() => environment.close());

/** Payments of a provider that tells what it is made to. */
let name = "";
let count = 0;
beforeEach(() => {
  name = `test${++count}`;
});
const position = () => findPosition(environment.database, `payments:${name}`);

async function rounds(
  webhooksSince: NonNullable<PaymentProvider["webhooksSince"]>,
  look: (subject: WebhookSubject) => Promise<void>,
  until: () => Promise<boolean> | boolean,
): Promise<void> {
  const missed = new MissedWebhooks({
    provider: { name, webhooksSince },
    database: environment.database,
    look,
    lease: UNDISPUTED,
    everyMs: 5,
    log: createLogger({ name: "test", level: "silent" }),
  });
  missed.start();
  await waitFor("some rounds", until);
  await missed.stop();
}

describe("missed webhooks", () => {
  test("are asked for from where the last ones ended, also by another process", async () => {
    const asked: (number | undefined)[] = [];
    const provider: PaymentProvider["webhooksSince"] = async ({ since }) => {
      asked.push(since);
      return { subjects: [], until: (since ?? 100) + 1 };
    };
    for (const most of [2, 4])
      await rounds(
        provider,
        async () => undefined,
        () => asked.length >= most,
      );
    expect(asked.slice(0, 4)).toEqual([undefined, 101, 102, 103]);
  });

  test("are asked for again until all could be looked at, and one that can't be holds up no other", async () => {
    const looked: (string | undefined)[] = [];
    let isAway = true;
    await rounds(
      async () => ({ subjects: [{ paymentId: "a" }, { paymentId: "b" }], until: 7 }),
      async ({ paymentId }) => {
        looked.push(paymentId);
        if (paymentId === "a" && isAway) throw new Error("the provider is away");
      },
      () => looked.length >= 4,
    );
    expect(looked.slice(0, 4)).toEqual(["a", "b", "a", "b"]);
    expect(await position()).toBeUndefined();
    isAway = false;
    await rounds(
      async () => ({ subjects: [{ paymentId: "a" }], until: 7 }),
      async () => undefined,
      async () => (await position()) === 7,
    );
  });

  test("that the provider refuses to tell about are skipped", async () => {
    await rounds(
      async () => ({ subjects: [{ paymentId: "gone" }], until: 9 }),
      async () => {
        throw new RequestRefusedError("payments answered 404: No such payment_intent");
      },
      async () => (await position()) === 9,
    );
  });

  test("are listed by Stripe page by page, and once more if they may have come late", async () => {
    const stripe = stripeOf(environment);
    const { signal } = new AbortController();
    const simulated = (path: string, form: Record<string, string> = {}) =>
      fetch(`${environment.providers.paymentsUrl}${path}`, {
        method: "POST",
        headers: { authorization: "Bearer sk_test_desk" },
        body: new URLSearchParams(form),
      }).then(async (response) => z.object({ id: z.string() }).parse(await response.json()));
    const payments = 120;
    for (let each = 0; each < payments; each++) {
      const form = { amount: "100", currency: "eur", confirm: "true", payment_method: "pm_card_visa" };
      const { id } = await simulated("/v1/payment_intents", form);
      await simulated(`/simulator/payment_intents/${id}/dispute`);
    }
    const first = await stripe.webhooksSince?.({ since: undefined, signal });
    const disputes = first?.subjects.filter(({ isDispute }) => isDispute) ?? [];
    expect(new Set(disputes.map(({ paymentId }) => paymentId)).size).toBe(payments);
    const again = await stripe.webhooksSince?.({ since: first?.until, signal });
    expect(again?.subjects).toHaveLength(payments);
    expect(again?.until).toBe(first?.until);
    const later = await stripe.webhooksSince?.({ since: Number(first?.until) + 3_600, signal });
    expect(later).toEqual({ subjects: [], until: Number(first?.until) + 3_600 });
  });
});
