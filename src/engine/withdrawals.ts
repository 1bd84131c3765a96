import { setTimeout as delay } from "node:timers/promises";
import type { Logger } from "../platform/log.ts";
import { describeError } from "../platform/describe-error.ts";

/** Why an order is cancelled that nobody was promised. */
export const WITHDRAWN = "the client was told that the order could not be taken";

export interface WithdrawalOptions {
  /** Has an order cancelled; gives undefined where there is none. */
  readonly cancel: (orderId: string, reason: string) => Promise<{ readonly accepted: boolean } | undefined>;
  /** Milliseconds that a transaction may take: what was under way can't be committed any more after that. */
  readonly afterMs: number;
  readonly log: Logger;
}

/**
 * Takes back orders of which nobody can say whether they were written down: their clients were told 503, and sent no
 * Idempotency-Key by which a repeated request would find them. Such an order was never queued, and the client orders again:
 * so it is cancelled as soon as MySQL answers, long before the sweeper would have it carried on.
 *
 * It is known to this process alone: when that dies before MySQL answers, the order is carried on like every other.
 */
export class Withdrawals {
  readonly #orderIds = new Set<string>();
  readonly #options: WithdrawalOptions;
  #running: Promise<void> | undefined;
  #stopping = false;

  constructor(options: WithdrawalOptions) {
    this.#options = options;
  }

  /** Takes the order back when it can be, if it is there. */
  add(orderId: string): void {
    this.#orderIds.add(orderId);
    this.#running ??= this.#run().finally(() => (this.#running = undefined));
  }

  /** Tries once more, and gives up what can't be taken back. */
  async stop(): Promise<void> {
    this.#stopping = true;
    await this.#running;
    if (this.#orderIds.size > 0)
      this.#options.log.error(
        { orderIds: [...this.#orderIds] },
        "may have been taken, and could not be withdrawn",
      );
  }

  async #run(): Promise<void> {
    const { afterMs, log } = this.#options;
    let isLast: boolean;
    do {
      await delay(afterMs);
      isLast = this.#stopping;
      try {
        for (const orderId of this.#orderIds) await this.#withdraw(orderId);
      } catch (error) {
        log.warn(
          { orders: this.#orderIds.size, error: describeError(error) },
          "orders to be withdrawn wait for MySQL",
        );
      }
    } while (this.#orderIds.size > 0 && !isLast);
  }

  async #withdraw(orderId: string): Promise<void> {
    const { cancel, log } = this.#options;
    const found = await cancel(orderId, WITHDRAWN);
    this.#orderIds.delete(orderId);
    if (found?.accepted)
      log.warn({ orderId }, "withdrawn: the order was stored, but its client was answered 503");
    else if (found) log.error({ orderId }, "could not withdraw the order: it is too late to cancel it");
  }
}
