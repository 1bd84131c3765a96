import { setTimeout as delay } from "node:timers/promises";
import type { Logger } from "../platform/log.ts";
import { describeError } from "../platform/describe-error.ts";

/** Why an order is cancelled that nobody was promised. */
export const WITHDRAWN = "the client was told that the order could not be taken";

/** Less than the last moment of a shutdown, however long a transaction may take. Milliseconds. */
const STOP_WITHIN_MS = 4_000;

export interface WithdrawalOptions {
  /** Has an order cancelled; gives undefined where there is none. */
  readonly cancel: (orderId: string, reason: string) => Promise<{ readonly accepted: boolean } | undefined>;
  /** Milliseconds that a transaction may take: what was under way can't be committed any more after that. */
  readonly afterMs: number;
  /** Milliseconds that stopping may take. */
  readonly stopWithinMs?: number;
  readonly log: Logger;
}

/** One that is to be taken back. */
interface Withdrawal {
  readonly orderId: string;
  /** When it may be looked for, as `performance.now()` has it. */
  readonly at: number;
  readonly hasFailed: boolean;
}

/**
 * Takes back orders of which nobody can say whether they were written down: their clients were told 503, and sent no
 * Idempotency-Key by which a repeated request would find them. Such an order was never queued, and the client orders again:
 * so it is cancelled as soon as MySQL answers, long before the sweeper would have it carried on.
 *
 * It is known to this process alone: when that dies before MySQL answers, or is alone cut off from MySQL for longer than the
 * sweeper waits, the order is carried on like every other.
 */
export class Withdrawals {
  /** By order; those first that may be looked for first. */
  readonly #waiting = new Map<string, Withdrawal>();
  /** Given up. */
  readonly #lost: string[] = [];
  readonly #options: WithdrawalOptions;
  #running: Promise<void> | undefined;
  #stopping = false;

  constructor(options: WithdrawalOptions) {
    this.#options = options;
  }

  /** Takes the order back when it can be, if it is there. */
  add(orderId: string): void {
    this.#wait(orderId, { hasFailed: false });
    this.#running ??= this.#run();
  }

  /** Tries each once more while there is time, and gives up what can't be taken back. */
  async stop(): Promise<void> {
    const { stopWithinMs = STOP_WITHIN_MS, log } = this.#options;
    this.#stopping = true;
    const ended = new AbortController();
    const timeIsUp = delay(stopWithinMs, undefined, ended).catch(() => undefined);
    await Promise.race([this.#running, timeIsUp]);
    ended.abort();
    const orderIds = [...this.#lost, ...this.#waiting.keys()];
    if (orderIds.length > 0) log.error({ orderIds }, "may have been taken, and could not be withdrawn");
  }

  #wait(orderId: string, { hasFailed }: Pick<Withdrawal, "hasFailed">): void {
    this.#waiting.delete(orderId);
    this.#waiting.set(orderId, { orderId, at: performance.now() + this.#options.afterMs, hasFailed });
  }

  async #run(): Promise<void> {
    for (let [first] = this.#waiting.values(); first; [first] = this.#waiting.values()) {
      // Whoever stops has the time limit, and need not wait for this one.
      await delay(Math.max(0, first.at - performance.now()), undefined, { ref: false });
      await this.#withdraw(first);
    }
    this.#running = undefined;
  }

  async #withdraw({ orderId, hasFailed }: Withdrawal): Promise<void> {
    const { cancel, log } = this.#options;
    const isLast = this.#stopping;
    try {
      const found = await cancel(orderId, WITHDRAWN);
      this.#waiting.delete(orderId);
      if (found?.accepted)
        log.warn({ orderId }, "withdrawn: the order was stored, but its client was answered 503");
      else if (found) log.error({ orderId }, "could not withdraw the order: it is too late to cancel it");
    } catch (error) {
      if (!hasFailed)
        log.warn({ orderId, error: describeError(error) }, "an order to be withdrawn waits for MySQL");
      if (isLast) this.#giveUp(orderId);
      else this.#wait(orderId, { hasFailed: true });
    }
  }

  #giveUp(orderId: string): void {
    this.#waiting.delete(orderId);
    this.#lost.push(orderId);
  }
}
