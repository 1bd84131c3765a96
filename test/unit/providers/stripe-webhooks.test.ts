import { afterEach, expect, test } from "@jest/globals";
import { default as Stripe } from "stripe";
import { noteServerTime } from "../../../src/platform/clock.ts";
import { stripePayments } from "../../../src/providers/stripe.ts";

const HOUR_MS = 3_600_000;
const secret = "whsec_4711";
const payload = JSON.stringify({ type: "payment_intent.succeeded", data: { object: { id: "pi_1" } } });
const stripe = stripePayments({
  secretKey: "sk_test_4711",
  webhookSecrets: [secret],
  url: "http://127.0.0.1:1",
  timeoutMs: 1_000,
});

/** Reads MySQL's clock, which is so far ahead of this process's. */
function read(aheadMs: number): void {
  noteServerTime(Date.now() + aheadMs, performance.now());
}

/** What comes of a webhook that was signed so many milliseconds from now, by this process's clock. */
async function received(fromNowMs: number): Promise<unknown> {
  const timestamp = Math.floor((Date.now() + fromNowMs) / 1_000);
  const signature = Stripe.webhooks.generateTestHeaderString({ payload, secret, timestamp });
  return stripe.parseWebhook?.(Buffer.from(payload), { "stripe-signature": signature });
}

afterEach(() => read(0));

test.each([-25 * HOUR_MS, 0, 25 * HOUR_MS])(
  "the age of a webhook goes by MySQL's clock, which is %i ms ahead of this process's",
  async (aheadMs) => {
    read(aheadMs);
    await expect(received(aheadMs)).resolves.toMatchObject({ paymentId: "pi_1" });
    await expect(received(aheadMs - HOUR_MS)).rejects.toThrow("outside the tolerance zone");
    await expect(received(aheadMs + HOUR_MS)).rejects.toThrow("ahead of this machine's clock");
  },
);
