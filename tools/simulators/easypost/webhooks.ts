import { createHmac } from "node:crypto";
import { newId, time, type Json } from "./shapes.ts";

/** What webhooks suffer on their way, from now on. */
export interface Delivery {
  /**
   * Shares (0 to 1) of the webhooks that are lost, sent twice, sent and answered before the call that causes them is answered,
   * and sent only after `lateMs`, so that others overtake them.
   */
  readonly lost: number;
  readonly doubled: number;
  readonly early: number;
  readonly late: number;
  readonly lateMs: number;
}

/** Times between the attempts at a webhook that is not answered with 2xx. EasyPost's are longer. */
const RETRIES_MS = [500, 2_000, 8_000];
const TIMEOUT_MS = 7_000;
const USER = "user_0e95f038c18f432fbc50f84855dc20c6";

export interface Endpoint {
  readonly id: string;
  readonly url: string;
  readonly secret: string | null;
  readonly at: Date;
  readonly headers: readonly Json[];
}

/** Sends events to the registered endpoints, signed as EasyPost signs them. */
export class Webhooks {
  readonly endpoints = new Map<string, Endpoint>();
  readonly events: Json[] = [];
  delivery: Delivery = { lost: 0, doubled: 0, early: 0, late: 0, lateMs: 0 };
  readonly #random: () => number;
  readonly #timers = new Set<NodeJS.Timeout>();
  readonly #sending = new Set<Promise<unknown>>();
  /** Those that the call in progress has to wait for. */
  #early: Promise<unknown>[] = [];
  readonly #closed = new AbortController();

  /** @param random returns numbers from 0 to below 1 */
  constructor(random: () => number) {
    this.#random = random;
  }

  /** Tells every endpoint. @param result the object that changed, @param before what it was */
  tell(description: string, result: Json, before: Json, at: Date): void {
    const urls = [...this.endpoints.values()].map(({ url }) => url);
    const event = {
      description,
      mode: "test",
      previous_attributes: before,
      created_at: at.toISOString(),
      pending_urls: urls,
      completed_urls: [],
      updated_at: at.toISOString(),
      id: newId("evt"),
      user_id: USER,
      status: "pending",
      object: "Event",
    };
    this.events.unshift(event);
    const body = asSigned({ ...event, result });
    for (const endpoint of this.endpoints.values()) this.#dispatch(endpoint, body);
  }

  /** Resolves once the early ones are answered that were told of since the last time. */
  async early(): Promise<void> {
    const early = this.#early;
    this.#early = [];
    await Promise.all(early);
  }

  close(): Promise<unknown> {
    for (const timer of this.#timers) clearTimeout(timer);
    this.#closed.abort();
    return Promise.allSettled(this.#sending);
  }

  #dispatch(endpoint: Endpoint, body: string): void {
    const { lost, doubled, early, late, lateMs } = this.delivery;
    const copies = this.#random() < doubled ? 2 : 1;
    for (let copy = 0; copy < copies; copy++) {
      if (this.#random() < lost) continue;
      if (this.#random() < early) {
        this.#early.push(this.#now(() => this.#send(endpoint, body, 0)));
        continue;
      }
      const wait = this.#random() < late ? lateMs : 0;
      this.#later(wait, () => this.#send(endpoint, body, 0));
    }
  }

  #now(action: () => Promise<void>): Promise<unknown> {
    const sending: Promise<unknown> = action().finally(() => this.#sending.delete(sending));
    this.#sending.add(sending);
    return sending;
  }

  #later(ms: number, action: () => Promise<void>): void {
    if (ms <= 0) return void this.#now(action);
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      void this.#now(action);
    }, ms);
    this.#timers.add(timer);
  }

  async #send(endpoint: Endpoint, body: string, attempt: number): Promise<void> {
    const signed = endpoint.secret === null ? {} : { "X-Hmac-Signature": signatureOf(body, endpoint.secret) };
    const accepted = await fetch(endpoint.url, {
      method: "POST",
      headers: { "Content-Type": "application/json", "User-Agent": "EasyPost Webhooks", ...signed },
      body,
      signal: AbortSignal.any([AbortSignal.timeout(TIMEOUT_MS), this.#closed.signal]),
    }).then(
      async (response) => {
        await response.arrayBuffer();
        return response.ok;
      },
      () => false,
    );
    const wait = RETRIES_MS[attempt];
    if (!accepted && wait !== undefined && !this.#closed.signal.aborted)
      this.#later(wait, () => this.#send(endpoint, body, attempt + 1));
  }
}

/** Header `X-Hmac-Signature` of a webhook: over its raw bytes, with the secret in Unicode's NFKD. */
export function signatureOf(body: string, secret: string): string {
  const digest = createHmac("sha256", Buffer.from(secret.normalize("NFKD"), "utf8"))
    .update(body)
    .digest("hex");
  return `hmac-sha256-hex=${digest}`;
}

/** EasyPost writes weights with a fraction, also whole ones, and signs them so. */
export function asSigned(event: Json): string {
  return JSON.stringify(event).replaceAll(/("weight":\s*)(\d+)(\s*)(?=[,}])/g, "$1$2.0$3");
}

/** A registered endpoint, as EasyPost shows it. */
export function shownEndpoint({ id, url, at, headers }: Endpoint): Json {
  return {
    id,
    object: "Webhook",
    mode: "test",
    url,
    created_at: time(at),
    disabled_at: null,
    custom_headers: headers,
  };
}
