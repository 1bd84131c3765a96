import { z } from "zod";
import type { Call } from "./call.ts";
import type { Answer } from "./provider-server.ts";

/** An approved charge: the money has moved. */
export interface BookedCharge {
  key: string;
  orderId: string;
  amount: number;
  currency: string;
  chargeId: string;
  at: Date;
}

export interface BookedDecline {
  key: string;
  orderId: string;
}

export interface BookedRefund {
  key: string;
  orderId: string;
  chargeKey: string;
  refundId: string;
  amount: number;
  at: Date;
}

const chargeRequest = z.object({
  orderId: z.string().min(1),
  amount: z.int().min(1),
  currency: z.string().regex(/^[A-Z]{3}$/),
  token: z.string().nullable(),
});
type ChargeRequest = z.output<typeof chargeRequest>;

const refundRequest = z.object({ orderId: z.string().min(1), chargeKey: z.string().min(1) });
type RefundRequest = z.output<typeof refundRequest>;

/** What the books hold for a charge's key. */
interface ChargeEntry {
  readonly request: ChargeRequest;
  /** How often it answered "no answer from the bank". */
  stumbles: number;
  booked?: BookedCharge;
  declined?: true;
}

interface RefundEntry {
  readonly request: RefundRequest;
  readonly refundId: string | null;
}

const DECLINED: Answer = { status: 402, body: { reason: "the card was declined" } };
const NO_ANSWER: Answer = { status: 503, body: { error: "no answer from the bank" } };

/**
 * Simulates charges and refunds, with books in memory by idempotency key. The token decides:
 *
 * - `tok_declined`: always declined.
 * - `tok_stumbles_N`: 503 to the first N attempts (1 to 99), then approved.
 * - `tok_down`: always 503.
 * - Tokens in poison.ts: the call fails before it gets here.
 * - Any other token, or none: approved.
 */
export class PaymentProvider {
  readonly charges: BookedCharge[] = [];
  readonly declines: BookedDecline[] = [];
  readonly refunds: BookedRefund[] = [];
  readonly #charges = new Map<string, ChargeEntry>();
  readonly #refunds = new Map<string, RefundEntry>();
  /** Keys of charges that were refunded, even before they were made. */
  readonly #refunded = new Set<string>();

  handle({ method, path, key, body }: Call): Answer {
    const route = `${method} ${path}`;
    if (route !== "POST /charges" && route !== "POST /refunds") return problem(404, "no such route");
    if (key === undefined) return problem(400, "Idempotency-Key is missing");
    if (route === "POST /charges") {
      const request = chargeRequest.safeParse(body);
      return request.success ? this.#charge(key, request.data) : problem(400, request.error.message);
    }
    const request = refundRequest.safeParse(body);
    return request.success ? this.#refund(key, request.data) : problem(400, request.error.message);
  }

  #charge(key: string, request: ChargeRequest): Answer {
    const entry = this.#charges.get(key) ?? { request, stumbles: 0 };
    this.#charges.set(key, entry);
    const { orderId, amount, currency, token } = request;
    const first = entry.request;
    if (first.orderId !== orderId || first.amount !== amount || first.currency !== currency)
      return problem(422, "the key was used for another charge");
    if (entry.declined) return DECLINED;
    if (this.#refunded.has(key)) return problem(409, "the charge was refunded");
    if (entry.booked) return { status: 200, body: { chargeId: entry.booked.chargeId } };

    if (token === "tok_declined") {
      entry.declined = true;
      this.declines.push({ key, orderId });
      return DECLINED;
    }
    if (token === "tok_down" || entry.stumbles < stumblesOf(token)) {
      entry.stumbles++;
      return NO_ANSWER;
    }
    const chargeId = `ch_${this.charges.length + 1}`;
    entry.booked = { key, orderId, amount, currency, chargeId, at: new Date() };
    this.charges.push(entry.booked);
    return { status: 200, body: { chargeId } };
  }

  #refund(key: string, request: RefundRequest): Answer {
    const { orderId, chargeKey } = request;
    const known = this.#refunds.get(key);
    if (known) {
      const isSame = known.request.orderId === orderId && known.request.chargeKey === chargeKey;
      return isSame
        ? { status: 200, body: { refundId: known.refundId } }
        : problem(422, "the key was used for another refund");
    }
    const charge = this.#charges.get(chargeKey);
    if (charge && charge.request.orderId !== orderId)
      return problem(422, "the charge belongs to another order");
    if (charge?.booked && this.#refunded.has(chargeKey))
      return problem(409, "the charge was refunded under another key");

    this.#refunded.add(chargeKey);
    let refundId: string | null = null;
    if (charge?.booked) {
      refundId = `re_${this.refunds.length + 1}`;
      const { amount } = charge.booked;
      this.refunds.push({ key, orderId, chargeKey, refundId, amount, at: new Date() });
    }
    this.#refunds.set(key, { request, refundId });
    return { status: 200, body: { refundId } };
  }
}

function stumblesOf(token: string | null): number {
  return Number(/^tok_stumbles_(\d{1,2})$/.exec(token ?? "")?.[1] ?? 0);
}

function problem(status: number, error: string): Answer {
  return { status, body: { error } };
}
