import { randomUUID } from "node:crypto";
import type { Redis } from "ioredis";
import type { Database } from "../db/database.ts";
import { findWaiting, type WaitingOrder } from "../db/orders.ts";
import type { DueJob, Queues } from "../queues/queues.ts";
import type { Logger } from "../src/log.ts";
import type { Lifecycle } from "../src/order/lifecycle.ts";
import { describe } from "../src/shutdown.ts";

/** Present as long as Redis has the jobs that it was given. */
const MARKER = "conveyor:marker";
/** Held by the worker that sweeps. More than one at a time would do no harm, only the same work twice. */
const LEAD = "conveyor:sweeper";
const LEAD_SECONDS = 15;
/** Orders of one status looked at in one round: the bound of what sweeping may cost, whatever the backlog. */
const PAGE = 500;

export interface SweeperOptions {
  readonly database: Database;
  readonly redis: Redis;
  readonly queues: Pick<Queues, "enqueue" | "revive" | "replace">;
  readonly lifecycle: Lifecycle;
  readonly log: Logger;
  /** Milliseconds between two rounds. */
  readonly intervalMs: number;
  /** Milliseconds for which an order must not have moved to be taken for lost. */
  readonly afterMs: number;
}

/**
 * Closes every gap between MySQL and Redis. One of the workers at a time goes round:
 *
 * - An order that should be on its way and has not moved for a while gets its due job added again. Nearly always the job
 *   is there, and adding it does nothing; a finished one that keeps it out is replaced.
 * - Redis carries a marker. Where it is missing, Redis has lost its data, and every order on its way is queued again at
 *   once, page by page.
 */
export class Sweeper {
  readonly #options: SweeperOptions;
  readonly #id = randomUUID();
  /** Where the next round goes on, by status. */
  readonly #after = new Map<string, string>();
  #timer: NodeJS.Timeout | undefined;
  #round: Promise<void> = Promise.resolve();
  #stopped = false;

  constructor(options: SweeperOptions) {
    this.#options = options;
  }

  /** Begins to go round. */
  start(): void {
    this.#schedule(0);
  }

  /** Ends after the round under way, and lets another worker lead. */
  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    await this.#round;
    const { redis } = this.#options;
    if (redis.status === "ready" && (await redis.get(LEAD)) === this.#id) await redis.del(LEAD);
  }

  /** One round, if this worker leads. @throws when MySQL or Redis does not answer: the next round tries again. */
  async sweep(): Promise<void> {
    if (!(await this.#leads())) return;
    if ((await this.#options.redis.exists(MARKER)) === 0) await this.#restore();
    else for (const status of this.#statuses()) await this.#sweepPage(status);
  }

  #schedule(delayMs: number): void {
    if (this.#stopped) return;
    this.#timer = setTimeout(() => {
      this.#round = this.sweep()
        .catch((error: unknown) => this.#options.log.warn({ error: describe(error) }, "could not sweep"))
        .finally(() => this.#schedule(this.#options.intervalMs));
    }, delayMs);
  }

  async #leads(): Promise<boolean> {
    const { redis } = this.#options;
    const taken = await redis.set(LEAD, this.#id, "EX", LEAD_SECONDS, "NX");
    if (taken === "OK") return true;
    if ((await redis.get(LEAD)) !== this.#id) return false;
    await redis.expire(LEAD, LEAD_SECONDS);
    return true;
  }

  /** The next page of orders that have not moved for a while; from the start again after the last one. */
  async #sweepPage(status: string): Promise<void> {
    const { database, queues, afterMs } = this.#options;
    const found = await findWaiting(database, {
      status,
      after: this.#after.get(status),
      untouchedSince: new Date(Date.now() - afterMs),
      limit: PAGE,
    });
    const last = found.length === PAGE ? found.at(-1) : undefined;
    if (last) this.#after.set(status, last.id);
    else this.#after.delete(status);
    await queues.revive(this.#next(found.filter((order) => !order.cancelled)));
    for (const order of found.filter(({ cancelled }) => cancelled)) await this.#cancel(order);
  }

  /** Queues all orders that are on their way, and then notes that Redis has them. */
  async #restore(): Promise<void> {
    const { database, queues, redis, log } = this.#options;
    let restored = 0;
    for (const status of this.#statuses()) {
      let after: string | undefined;
      do {
        const found = await findWaiting(database, { status, after, limit: PAGE });
        await queues.enqueue(this.#next(found));
        restored += found.length;
        after = found.length === PAGE ? found.at(-1)?.id : undefined;
        await this.#leads();
      } while (after !== undefined && !this.#stopped);
    }
    if (this.#stopped) return;
    await redis.set(MARKER, new Date().toISOString());
    log.info({ orders: restored }, "Redis had no jobs: queued every order that is on its way");
  }

  #statuses(): readonly string[] {
    const { lifecycle } = this.#options;
    return lifecycle.statuses.filter((status) => !lifecycle.hasEnded(status));
  }

  #next(orders: readonly WaitingOrder[]): DueJob[] {
    return orders.flatMap((order) => {
      const move = this.#options.lifecycle.next(order);
      return move ? [{ orderId: order.id, move }] : [];
    });
  }

  /** Has an order undone that is to be cancelled, whatever job it has now. */
  async #cancel({ id, status }: WaitingOrder): Promise<void> {
    const { lifecycle, queues } = this.#options;
    const due = lifecycle.due(status);
    const cancelling = lifecycle.cancelling(status);
    if (due && cancelling) {
      await queues.replace({ orderId: id, move: due }, { orderId: id, move: cancelling });
    }
  }
}
