import { setTimeout as delay } from "node:timers/promises";
import type { Logger } from "../platform/log.ts";
import { describeError } from "../platform/describe-error.ts";
import { settleWithin } from "../platform/time-limit.ts";

/** The reason for cancelling an order whose client was told that it failed. */
export const WITHDRAWN = "the client was told that the order could not be taken";

/** Less than the end of a shutdown leaves, however long a transaction may take. Milliseconds. */
const STOP_WITHIN_MS = 4_000;

export interface WithdrawalOptions {
  /** Cancels an order; undefined if there is none. */
  readonly cancel: (orderId: string, reason: string) => Promise<{ readonly accepted: boolean } | undefined>;
  /** The longest that a transaction may take; after that it cannot commit. Milliseconds. */
  readonly afterMs: number;
  /** The longest that stopping may take. Milliseconds. */
  readonly stopWithinMs?: number;
  readonly log: Logger;
}

/** An order to withdraw. */
interface Withdrawal {
  readonly orderId: string;
  /** The earliest time to look for it (`performance.now()`). */
  readonly at: number;
  readonly hasFailed: boolean;
}

/**
 * Withdraws orders that may or may not have been stored: their clients got a 503, and sent no Idempotency-Key by which
 * a repeated request would find the order. Such an order was never queued and its client will order again, so it is
 * cancelled as soon as MySQL answers, long before the sweeper would pick it up.
 *
 * Only this process knows of them. If it dies before MySQL answers, or is alone cut off from MySQL for longer than the
 * sweeper waits, the order is processed like any other.
 */
export class Withdrawals {
  /** By order id, earliest first. */
  readonly #waiting = new Map<string, Withdrawal>();
  /** Orders that could not be withdrawn. */
  readonly #lost: string[] = [];
  readonly #options: WithdrawalOptions;
  #running: Promise<void> | undefined;
  #stopping = false;

  constructor(options: WithdrawalOptions) {
    this.#options = options;
  }

  /** Withdraws the order later, if it exists. */
  add(orderId: string): void {
    this.#wait(orderId, { hasFailed: false });
    this.#running ??= this.#run();
  }

  /** Tries each once more while time allows, and gives up on the rest. */
  async stop(): Promise<void> {
    const { stopWithinMs = STOP_WITHIN_MS, log } = this.#options;
    this.#stopping = true;
    if (this.#running) await settleWithin(stopWithinMs, this.#running, () => undefined);
    const orderIds = [...this.#lost, ...this.#waiting.keys()];
    if (orderIds.length > 0)
      log.error({ orderIds }, "orders may have been stored, and could not be withdrawn");
  }

  #wait(orderId: string, { hasFailed }: Pick<Withdrawal, "hasFailed">): void {
    this.#waiting.delete(orderId);
    this.#waiting.set(orderId, { orderId, at: performance.now() + this.#options.afterMs, hasFailed });
  }

  async #run(): Promise<void> {
    for (let [first] = this.#waiting.values(); first; [first] = this.#waiting.values()) {
      // stop() has its own limit, and need not wait for this timer.
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
        log.warn(
          { orderId, error: describeError(error) },
          "could not withdraw the order yet: waiting for MySQL",
        );
      if (isLast) this.#giveUp(orderId);
      else this.#wait(orderId, { hasFailed: true });
    }
  }

  #giveUp(orderId: string): void {
    this.#waiting.delete(orderId);
    this.#lost.push(orderId);
  }
}
