import type { Answer } from "../call.ts";

interface Remembered {
  readonly request: string;
  readonly answer: Answer;
  readonly until: number;
}

/**
 * Idempotency keys as Stripe keeps them: the first answer, server errors included, is given again to the same request,
 * until the key is forgotten. A request that was refused before it was carried out leaves no trace.
 */
export class Keys {
  /** How long a key is kept. Milliseconds. */
  ttlMs: number;
  readonly #known = new Map<string, Remembered>();

  constructor(ttlMs: number) {
    this.ttlMs = ttlMs;
  }

  /** The answer under this key; "another request" if it was used for one; undefined if it is new, or forgotten. */
  find(key: string, request: string): Answer | "another request" | undefined {
    const known = this.#known.get(key);
    if (known === undefined || known.until < Date.now()) return undefined;
    return known.request === request ? known.answer : "another request";
  }

  remember(key: string, request: string, answer: Answer): void {
    this.#forgetOld();
    this.#known.set(key, { request, answer, until: Date.now() + this.ttlMs });
  }

  clear(): void {
    this.#known.clear();
  }

  /** Oldest first: the map keeps the order of insertion. */
  #forgetOld(): void {
    const now = Date.now();
    for (const [key, { until }] of this.#known) {
      if (until >= now) return;
      this.#known.delete(key);
    }
  }
}
