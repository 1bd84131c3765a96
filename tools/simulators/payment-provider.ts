import { z } from "zod";
import { done, problem, undone, type Answer, type Call } from "./call.ts";
import { voided, type Entry, type Ledger } from "./ledger.ts";

const chargeRequest = z.object({
  operation: z.literal("charge"),
  orderId: z.string().min(1),
  amount: z.int().min(1),
  currency: z.string().regex(/^[A-Z]{3}$/),
  token: z.string().nullable(),
  capture: z.boolean().default(true),
});
type ChargeRequest = z.output<typeof chargeRequest>;

const captureRequest = z.object({
  operation: z.literal("capture"),
  orderId: z.string().min(1),
  chargeKey: z.string().min(1),
  amount: z.int().min(1),
});
type CaptureRequest = z.output<typeof captureRequest>;

/** Without an amount, it pays all back that was charged, and sees to it that nothing is charged later. */
const refundRequest = z.object({
  operation: z.literal("refund"),
  orderId: z.string().min(1),
  chargeKey: z.string().min(1),
  amount: z.int().min(1).optional(),
});
type RefundRequest = z.output<typeof refundRequest>;

const anyRequest = z.discriminatedUnion("operation", [
  chargeRequest,
  captureRequest,
  refundRequest,
  z.object({ operation: z.literal("find-charge"), chargeKey: z.string().min(1) }),
  z.object({ operation: z.literal("find-refund"), refundKey: z.string().min(1) }),
]);

const DECLINED: Answer = { status: 200, body: { reject: "the card was declined" } };
const NOTHING: Answer = { status: 204 };
const NO_ANSWER: Answer = { status: 503, body: { error: "no answer from the bank" } };

/**
 * Simulates charges, captures and refunds, booked by idempotency key. The token decides:
 *
 * - `tok_approved`, any token not listed here, or none: approved.
 * - `tok_declined`: always declined.
 * - `tok_stumbles_N`: no answer to the first N attempts (1 to 99), then approved.
 * - `tok_down`: no answer until `npm run providers -- payments up` is run after the first attempt.
 *
 * With a token of poison.ts, the call fails before it gets here.
 */
export class PaymentProvider {
  readonly #ledger: Ledger;
  #upSince: Date | undefined;

  constructor(ledger: Ledger) {
    this.#ledger = ledger;
  }

  /** Ends what `tok_down` stands for, for charges that were tried before. */
  switchedUp(): void {
    this.#upSince = new Date();
  }

  handle({ key, body }: Pick<Call, "body"> & { readonly key: string }): Answer {
    const parsed = anyRequest.safeParse(body);
    if (!parsed.success) return problem(400, parsed.error.message);
    const request = parsed.data;
    switch (request.operation) {
      case "charge":
        return this.#charge(key, request);
      case "capture":
        return this.#capture(request);
      case "refund":
        return this.#refund(key, request);
      case "find-charge":
        return this.#find("charge", request.chargeKey);
      case "find-refund":
        return this.#find("refund", request.refundKey);
    }
  }

  #charge(key: string, { orderId, amount, currency, token, capture }: ChargeRequest): Answer {
    const known = this.#ledger.get(key);
    // A charge that was refunded before it was made has no amount.
    const isOther =
      known?.orderId !== orderId || (known.held ?? known.amount) !== amount || known.currency !== currency;
    if (known && known.outcome !== "void" && isOther)
      return problem(422, "the key was used for another charge");
    const entry: Entry = {
      ...(known ?? {
        key,
        kind: "charge",
        orderId,
        amount,
        currency,
        outcome: "pending",
        providerId: "",
        reverses: null,
        at: new Date(),
      }),
      attempts: (known?.attempts ?? 0) + 1,
    };
    if (entry.outcome === "void" || this.#ledger.reversalOf(key)) return undone("the charge was refunded");
    const isDecided = entry.outcome !== "pending" || entry.held !== undefined;
    const decided = isDecided ? entry : this.#decide(entry, token);
    const holds = !isDecided && !capture && decided.outcome === "approved";
    const { outcome, providerId, held } = this.#ledger.put(
      holds ? { ...decided, outcome: "pending", held: amount } : decided,
    );
    if (held !== undefined) return done({ chargeId: providerId, status: "authorized" });
    if (outcome === "pending") return NO_ANSWER;
    return outcome === "declined" ? DECLINED : done({ chargeId: providerId });
  }

  #decide(entry: Entry, token: string | null): Entry {
    if (token === "tok_declined") return { ...entry, outcome: "declined" };
    if (token === "tok_down" && !(this.#upSince && this.#upSince > entry.at)) return entry;
    const stumbles = Number(/^tok_stumbles_(\d{1,2})$/.exec(token ?? "")?.[1] ?? 0);
    if (entry.attempts <= stumbles) return entry;
    return { ...entry, outcome: "approved", providerId: `ch_${this.#ledger.issued("charge") + 1}` };
  }

  #capture({ orderId, chargeKey, amount }: CaptureRequest): Answer {
    const charge = this.#ledger.get(chargeKey);
    if (charge?.kind !== "charge" || charge.orderId !== orderId)
      return problem(422, "there is no such charge of this order");
    if (charge.outcome === "void") return undone("the charge was called off");
    const { held, providerId } = charge;
    if (held === undefined) return problem(409, "no money is held");
    if (amount > held) return problem(409, `no more than ${held} are held`);
    if (charge.outcome === "pending") this.#ledger.put({ ...charge, outcome: "approved", amount });
    else if (charge.amount !== amount) return problem(409, `${charge.amount} were taken before`);
    return done({ chargeId: providerId, amount });
  }

  #find(kind: "charge" | "refund", key: string): Answer {
    const found = this.#ledger.get(key);
    if (found?.kind !== kind) return NOTHING;
    const { outcome, providerId, amount, held } = found;
    if (outcome === "pending")
      return held === undefined ? NOTHING : done({ chargeId: providerId, status: "authorized" });
    if (kind === "refund") return done({ refundId: providerId });
    if (outcome === "approved") return done({ chargeId: providerId, amount });
    return outcome === "declined" ? DECLINED : done({ status: "cancelled" });
  }

  #refund(key: string, { orderId, chargeKey, amount }: RefundRequest): Answer {
    const known = this.#ledger.get(key);
    if (known && (known.orderId !== orderId || known.reverses !== chargeKey))
      return problem(422, "the key was used for another refund");
    if (known) {
      this.#ledger.put({ ...known, attempts: known.attempts + 1 });
      return done({ refundId: known.providerId });
    }
    const at = new Date();
    const charge = this.#ledger.get(chargeKey);
    if (charge && charge.orderId !== orderId) return problem(422, "the charge belongs to another order");
    if (charge?.outcome !== "approved") {
      if (amount !== undefined && charge?.held !== undefined) return problem(409, "no money was taken");
      if (charge === undefined) this.#ledger.put(voided("charge", chargeKey, orderId, at));
      else if (charge.outcome === "pending") this.#ledger.put({ ...charge, outcome: "void" });
      return NOTHING;
    }
    if (amount === undefined && this.#ledger.reversalOf(chargeKey))
      return problem(409, "the charge was refunded under another key");
    const left = charge.amount - this.#ledger.refundedOf(chargeKey);
    if ((amount ?? left) > left) return problem(409, `no more than ${left} of the charge can be refunded`);
    const { providerId } = this.#ledger.put({
      ...charge,
      amount: amount ?? charge.amount,
      key,
      kind: "refund",
      providerId: `re_${this.#ledger.issued("refund") + 1}`,
      reverses: chargeKey,
      attempts: 1,
      at,
    });
    return done({ refundId: providerId });
  }
}
