import { z } from "zod";
import { problem, type Answer, type Call } from "./call.ts";
import { voided, type Ledger } from "./ledger.ts";

const labelRequest = z.object({ orderId: z.string().min(1) });
const voidRequest = z.object({ orderId: z.string().min(1), labelKey: z.string().min(1) });

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

  handle({ method, path, key, body }: Call): Answer {
    const trackingNumber = /^\/parcels\/([^/]+)$/.exec(path)?.[1];
    if (method === "GET" && trackingNumber !== undefined) return this.#track(trackingNumber);
    const route = `${method} ${path}`;
    if (route !== "POST /labels" && route !== "POST /labels/void") return problem(404, "no such route");
    if (key === undefined) return problem(400, "Idempotency-Key is missing");
    if (route === "POST /labels") {
      const request = labelRequest.safeParse(body);
      return request.success ? this.#create(key, request.data.orderId) : problem(400, request.error.message);
    }
    const request = voidRequest.safeParse(body);
    return request.success ? this.#void(key, request.data) : problem(400, request.error.message);
  }

  #create(key: string, orderId: string): Answer {
    const known = this.#ledger.get(key);
    if (known && known.orderId !== orderId) return problem(422, "the key was used for another label");
    if (known?.outcome === "void" || this.#ledger.reversalOf(key))
      return problem(409, "the label was voided");
    const number = `CV${String(this.#ledger.issued("label") + 1).padStart(9, "0")}`;
    const { providerId } = this.#ledger.put(
      known
        ? { ...known, attempts: known.attempts + 1 }
        : { ...voided("label", key, orderId), outcome: "approved", providerId: number, attempts: 1 },
    );
    return { status: 200, body: { trackingNumber: providerId } };
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
    return { status: 204 };
  }

  #track(trackingNumber: string): Answer {
    const found = this.#ledger.withProviderId(trackingNumber);
    if (found === undefined || this.#ledger.reversalOf(found.key)) return problem(404, "no such parcel");
    const arrival = found.at.getTime() + this.transitMs;
    const remaining = arrival - Date.now();
    return remaining > 0
      ? { status: 200, body: { delivered: false, askAgainInMs: remaining } }
      : { status: 200, body: { delivered: true, at: new Date(arrival).toISOString() } };
  }
}
