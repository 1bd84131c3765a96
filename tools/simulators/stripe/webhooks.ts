import { default as Stripe } from "stripe";
import { z } from "zod";

/** Where webhooks go, and how they fare on the way. */
export const webhookSettings = z.object({
  /** Null for nowhere. */
  url: z.string().nullable().default(null),
  /** `whsec_…`, as the endpoint has it. */
  secret: z.string().default("whsec_simulated"),
  /** The shares (0 to 1) that never arrive, and that arrive twice. */
  lost: z.number().min(0).max(1).default(0),
  doubled: z.number().min(0).max(1).default(0),
  /** Each is sent after a random time up to this one, so that they overtake each other. Milliseconds. */
  latestMs: z.number().min(0).default(0),
});
export type WebhookSettings = z.output<typeof webhookSettings>;

/** One that is not answered with 2xx is sent again after these times, in milliseconds. */
const RETRIES_MS = [500, 1_000, 2_000, 4_000, 8_000, 16_000];
const TIMEOUT_MS = 10_000;

/** Sends webhooks, signed as Stripe signs them, as well and as badly as it is told to. */
export class Webhooks {
  settings: WebhookSettings = webhookSettings.parse({});
  readonly #random: () => number;
  readonly #timers = new Set<NodeJS.Timeout>();
  #isClosed = false;

  constructor(random: () => number) {
    this.#random = random;
  }

  send(event: object): void {
    const { url, lost, doubled } = this.settings;
    if (url === null || this.#random() < lost) return;
    const text = JSON.stringify(event, null, 2);
    const times = this.#random() < doubled ? 2 : 1;
    for (let time = 0; time < times; time++) this.#after(this.#random() * this.settings.latestMs, text, 0);
  }

  close(): void {
    this.#isClosed = true;
    for (const timer of this.#timers) clearTimeout(timer);
  }

  #after(ms: number, text: string, retries: number): void {
    if (this.#isClosed) return;
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      void this.#post(text, retries);
    }, ms);
    timer.unref();
    this.#timers.add(timer);
  }

  async #post(text: string, retries: number): Promise<void> {
    const { url, secret } = this.settings;
    if (url === null) return;
    const signature = Stripe.webhooks.generateTestHeaderString({ payload: text, secret });
    try {
      const response = await fetch(url, {
        method: "POST",
        headers: { "Content-Type": "application/json; charset=utf-8", "Stripe-Signature": signature },
        body: text,
        signal: AbortSignal.timeout(TIMEOUT_MS),
      });
      await response.arrayBuffer();
      if (response.ok) return;
    } catch {
      // Tried again below.
    }
    const wait = RETRIES_MS[retries];
    if (wait !== undefined) this.#after(wait, text, retries + 1);
  }
}
