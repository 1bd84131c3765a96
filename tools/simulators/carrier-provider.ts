import { z } from "zod";
import type { Call } from "./call.ts";
import type { Answer } from "./provider-server.ts";

export interface BookedLabel {
  key: string;
  orderId: string;
  trackingNumber: string;
  voided: boolean;
  at: Date;
}

const labelRequest = z.object({ orderId: z.string().min(1) });
const voidRequest = z.object({ orderId: z.string().min(1), labelKey: z.string().min(1) });

/**
 * Simulates a carrier's labels and parcels, with books in memory by idempotency key. A parcel is delivered a
 * fixed time after its label was made.
 */
export class CarrierProvider {
  readonly labels: BookedLabel[] = [];
  readonly #transitMs: number;
  readonly #byKey = new Map<string, BookedLabel>();
  readonly #byNumber = new Map<string, BookedLabel>();
  /** Keys of labels that were voided, even before they were requested. */
  readonly #voided = new Set<string>();

  constructor(transitMs: number) {
    this.#transitMs = transitMs;
  }

  handle({ method, path, key, body }: Call): Answer {
    const trackingNumber = /^\/parcels\/([^/]+)$/.exec(path)?.[1];
    if (method === "GET" && trackingNumber !== undefined) return this.#track(trackingNumber);
    const route = `${method} ${path}`;
    if (route !== "POST /labels" && route !== "POST /labels/void") return problem(404, "no such route");
    if (key === undefined) return problem(400, "Idempotency-Key is missing");
    if (route === "POST /labels") {
      const request = labelRequest.safeParse(body);
      return request.success ? this.#create(key, request.data) : problem(400, request.error.message);
    }
    const request = voidRequest.safeParse(body);
    return request.success ? this.#void(request.data) : problem(400, request.error.message);
  }

  /** The order a parcel belongs to; undefined if there is no such parcel. */
  orderOf(trackingNumber: string): string | undefined {
    return this.#byNumber.get(trackingNumber)?.orderId;
  }

  #create(key: string, { orderId }: z.output<typeof labelRequest>): Answer {
    const known = this.#byKey.get(key);
    if (known && known.orderId !== orderId) return problem(422, "the key was used for another label");
    if (this.#voided.has(key)) return problem(409, "the label was voided");
    if (known) return { status: 200, body: { trackingNumber: known.trackingNumber } };
    const trackingNumber = `CV${String(this.labels.length + 1).padStart(9, "0")}`;
    const label: BookedLabel = { key, orderId, trackingNumber, voided: false, at: new Date() };
    this.labels.push(label);
    this.#byKey.set(key, label);
    this.#byNumber.set(trackingNumber, label);
    return { status: 200, body: { trackingNumber } };
  }

  #void({ orderId, labelKey }: z.output<typeof voidRequest>): Answer {
    const label = this.#byKey.get(labelKey);
    if (label && label.orderId !== orderId) return problem(422, "the label belongs to another order");
    this.#voided.add(labelKey);
    if (label) label.voided = true;
    return { status: 204 };
  }

  #track(trackingNumber: string): Answer {
    const label = this.#byNumber.get(trackingNumber);
    if (label === undefined || label.voided) return problem(404, "no such parcel");
    const arrival = label.at.getTime() + this.#transitMs;
    const remaining = arrival - Date.now();
    return remaining > 0
      ? { status: 200, body: { delivered: false, askAgainInMs: remaining } }
      : { status: 200, body: { delivered: true, at: new Date(arrival).toISOString() } };
  }
}

function problem(status: number, error: string): Answer {
  return { status, body: { error } };
}
