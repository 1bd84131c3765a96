import { z } from "zod";
import { done, problem, undone, type Answer, type Call } from "./call.ts";
import { voided, type Ledger } from "./ledger.ts";

const id = z.string().min(1);
const voidRequest = z.object({
  operation: z.literal("void-label"),
  orderId: id,
  labelKey: id,
});
const anyRequest = z.discriminatedUnion("operation", [
  z.object({ operation: z.literal("create-label"), orderId: id }),
  voidRequest,
  z.object({ operation: z.literal("track"), trackingNumber: id }),
]);

/**
 * Simulates a carrier's labels and parcels, booked by idempotency key. A parcel is delivered `transitMs` after its label
 * was made.
 */
export class CarrierProvider {
  /** Milliseconds. */
  transitMs: number;
  readonly #ledger: Ledger;

  constructor(ledger: Ledger, transitMs: number) {
    this.#ledger = ledger;
    this.transitMs = transitMs;
  }

  handle({ key, body }: Pick<Call, "body"> & { readonly key: string }): Answer {
    const request = anyRequest.safeParse(body);
    if (!request.success) return problem(400, request.error.message);
    const { data } = request;
    switch (data.operation) {
      case "create-label":
        return this.#create(key, data.orderId);
      case "void-label":
        return this.#void(key, data);
      case "track":
        return this.#track(data.trackingNumber);
    }
  }

  #create(key: string, orderId: string): Answer {
    const known = this.#ledger.get(key);
    if (known && known.orderId !== orderId) return problem(422, "the key was used for another label");
    if (known?.outcome === "void" || this.#ledger.reversalOf(key)) return undone("the label was voided");
    const number = `CV${String(this.#ledger.issued("label") + 1).padStart(9, "0")}`;
    const { providerId } = this.#ledger.put(
      known
        ? { ...known, attempts: known.attempts + 1 }
        : { ...voided("label", key, orderId), outcome: "approved", providerId: number, attempts: 1 },
    );
    return done({ trackingNumber: providerId });
  }

  #void(key: string, { orderId, labelKey }: z.output<typeof voidRequest>): Answer {
    const known = this.#ledger.get(labelKey);
    if (known && known.orderId !== orderId) return problem(422, "the label belongs to another order");
    if (known === undefined) this.#ledger.put(voided("label", labelKey, orderId));
    else if (known.outcome === "approved" && !this.#ledger.reversalOf(labelKey))
      this.#ledger.put({
        ...voided("label", key, orderId),
        kind: "label-void",
        outcome: "approved",
        reverses: labelKey,
        attempts: 1,
      });
    return done();
  }

  #track(trackingNumber: string): Answer {
    const found = this.#ledger.withProviderId(trackingNumber);
    if (found === undefined || this.#ledger.reversalOf(found.key)) return problem(422, "no such parcel");
    const arrival = found.at.getTime() + this.transitMs;
    const remaining = arrival - Date.now();
    return remaining > 0
      ? { status: 200, body: { snooze: remaining } }
      : done({ deliveredAt: new Date(arrival).toISOString() });
  }
}
