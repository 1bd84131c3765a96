import { setTimeout as sleep } from "node:timers/promises";
import { durationInWords } from "../platform/duration.ts";
import type { Lease } from "../platform/lease.ts";
import type { Logger } from "../platform/log.ts";
import { Repeat } from "../platform/repeat.ts";
import type { Deadline, Lifecycle } from "../order/lifecycle.ts";
import { describeError } from "../platform/describe-error.ts";
import type { Service } from "../platform/service.ts";
import { isDatabaseAway } from "../platform/storage-error.ts";
import type {
  Dispatcher,
  DueJob,
  JobMarker,
  OrderState,
  OrderStore,
  Replacement,
  Restoration,
} from "./ports.ts";

/** Far longer than a page takes that waits for nobody. Milliseconds. */
const STOP_WITHIN_MS = 2_000;
/** Orders looked at in one go: a few milliseconds' work for MySQL, Redis and this process each. */
const PAGE = 500;
/** The part of its time that the leader gives to sweeping, however many orders wait. */
const SWEEPING_SHARE = 0.1;
/** The same while Redis has lost its data: more, since workers have nothing to do before. */
const RESTORING_SHARE = 0.5;

/** Some orders of a status. */
export interface Seen {
  readonly count: number;
  /** When the one came there that has been there longest, in milliseconds since 1970; Infinity when there is none. */
  readonly oldest: number;
}

/** What a walk over the orders of a status has seen. */
export interface Walked {
  readonly moving: Seen;
  /** Resting in a failed set. */
  readonly failed: Seen;
  /** To be cancelled. */
  readonly cancelling: Seen;
  /** When it ended. */
  readonly at: number;
}

/** Is told what the sweeper comes by anyway. */
export interface SweepObserver {
  walked(status: string, walked: Walked): void;
  /** Another worker sweeps: what this one has seen is of the past. */
  doesNotLead(): void;
}

export interface SweeperOptions {
  readonly store: OrderStore;
  readonly dispatcher: Dispatcher;
  /**
   * Held by the process that sweeps; undefined where every process does. More than one at a time would do no harm, only the
   * same work twice.
   */
  readonly lease: Lease | undefined;
  /** Undefined where the dispatcher can't lose its jobs. */
  readonly marker: JobMarker | undefined;
  readonly lifecycle: Lifecycle;
  /** By status; by default those of the stages themselves. */
  readonly deadlines?: ReadonlyMap<string, Deadline>;
  readonly observer?: SweepObserver | undefined;
  readonly log: Logger;
  /** Milliseconds from the beginning of one walk over the orders to that of the next, at least. */
  readonly intervalMs: number;
  /** Milliseconds for which an order must not have moved to be taken for lost. */
  readonly afterMs: number;
}

/** Where the walk over the orders of one status is. */
interface Walk {
  readonly beganAt: number;
  /** Undefined when it has come to the end. */
  readonly after: string | undefined;
  readonly tally: Tally;
}

/**
 * Closes every gap between MySQL and Redis, and sees that orders meet their deadlines. One of the workers at a time
 * walks over the orders that have not ended, page by page, a walk for each status:
 *
 * - An order that should be on its way and has not moved for a while gets the job that it waits for, if that is missing
 *   or has ended. When MySQL was away, it has as long again from when MySQL is back: an API may have to withdraw it first
 *   (see withdrawals.ts), and nobody could move it before.
 * - One that has not met its deadline is cancelled.
 * - Redis carries a marker. Where it is missing, Redis has lost its data, and all orders on their way are queued again,
 *   those first that are nearest to their end.
 *
 * A page is read by its place in the index, so that its cost does not depend on how many orders wait, or in what state
 * they are. And between two pages the leader rests in proportion to the time that the last one took: a backlog makes a
 * walk longer, but never a load, and when the servers are busy the walk slows down. So it needs no index of when orders
 * moved, which would be written at each transition.
 */
export class Sweeper implements Service {
  readonly name = "sweeper";
  readonly #options: SweeperOptions;
  readonly #deadlines: ReadonlyMap<string, Deadline>;
  readonly #rounds: Repeat;
  readonly #walks = new Map<string, Walk>();
  /** When a round first found MySQL back, in milliseconds since 1970; Infinity while it is away. */
  #backSince = -Infinity;

  constructor(options: SweeperOptions) {
    this.#options = options;
    this.#deadlines = options.deadlines ?? options.lifecycle.deadlines();
    this.#rounds = new Repeat({
      run: () => this.sweep(),
      everyMs: options.intervalMs,
      onError: (error) => options.log.warn({ error: describeError(error) }, "could not sweep"),
    });
  }

  /** Begins to go round. */
  start(): void {
    this.#rounds.start();
  }

  /** Ends after the page under way, unless that waits for a server, and lets another worker lead. */
  async stop(): Promise<void> {
    await Promise.race([this.#rounds.stop(), sleep(STOP_WITHIN_MS, undefined, { ref: false })]);
    const { lease, log } = this.#options;
    await lease?.release().catch((error: unknown) => {
      log.warn(
        { error: describeError(error) },
        "could not release the lease: another worker sweeps once it expires",
      );
    });
  }

  /**
   * If this worker leads: the next page of each status, or of a restoration.
   *
   * @returns milliseconds to rest. @throws when MySQL or Redis does not answer: the next round tries again.
   */
  async sweep(): Promise<number> {
    try {
      return await this.#sweep();
    } catch (error) {
      if (isDatabaseAway(error)) this.#backSince = Infinity;
      throw error;
    }
  }

  async #sweep(): Promise<number> {
    const startedAt = performance.now();
    const { intervalMs, marker, lease, observer } = this.#options;
    // Before anything is written: Redis may have become somebody else's.
    const restoration = await marker?.restoration();
    if (lease && (await lease.hold()) === undefined) {
      observer?.doesNotLead();
      return intervalMs;
    }
    const isDone = await (marker && restoration ? this.#restore(marker, restoration) : this.#sweepPages());
    if (this.#backSince === Infinity) this.#backSince = Date.now();
    const share = restoration ? RESTORING_SHARE : SWEEPING_SHARE;
    const busyMs = performance.now() - startedAt;
    const restMs = Math.min(busyMs * (1 / share - 1), intervalMs);
    return isDone ? Math.max(restMs, this.#untilNextWalk()) : restMs;
  }

  /** @returns whether all walks have come to their end. */
  async #sweepPages(): Promise<boolean> {
    const { lifecycle, intervalMs, observer, log } = this.#options;
    for (const status of lifecycle.statuses.filter((each) => !lifecycle.hasEnded(each))) {
      const now = Date.now();
      const last = this.#walks.get(status);
      if (last && last.after === undefined && now < last.beganAt + intervalMs) continue;
      const { after, beganAt, tally } = last?.after === undefined ? newWalk(now) : last;
      const page = await this.#page(status, after, PAGE);
      const revived = await this.#tend(page.orders, { untouchedSince: this.#untouchedSince(now) });
      if (revived > 0) log.info({ status, orders: revived }, "orders that had stopped go on");
      tally.add(page.orders);
      if (page.next === undefined) observer?.walked(status, tally.total);
      this.#walks.set(status, { beganAt, after: page.next, tally });
    }
    return [...this.#walks.values()].every((walk) => walk.after === undefined);
  }

  #untouchedSince(now: number): number {
    const since = now - this.#options.afterMs;
    return since < this.#backSince ? -Infinity : since;
  }

  #untilNextWalk(): number {
    const { intervalMs } = this.#options;
    const oldest = Math.min(...[...this.#walks.values()].map((walk) => walk.beganAt));
    return this.#walks.size === 0 ? intervalMs : oldest + intervalMs - Date.now();
  }

  /**
   * Queues a page of orders that are on their way. How far it has come stands in Redis, for whoever leads next.
   *
   * @returns whether it was the last one.
   */
  async #restore(marker: JobMarker, restoration: Restoration): Promise<boolean> {
    const { lifecycle, log } = this.#options;
    const statuses = lifecycle.statuses.filter((each) => !lifecycle.hasEnded(each)).toReversed();
    let { orders, after } = restoration;
    // One that was begun by a pipeline with other statuses begins again.
    let index = Math.max(0, statuses.indexOf(restoration.status ?? ""));
    if (statuses[index] !== restoration.status) after = undefined;
    for (let left = PAGE; left > 0;) {
      const status = statuses[index];
      if (status === undefined) {
        if (await marker.end(restoration)) {
          log.info({ orders }, "Redis had lost its jobs: queued all orders in progress");
        }
        return true;
      }
      const page = await this.#page(status, after, left);
      orders += await this.#tend(page.orders, { untouchedSince: Infinity });
      left -= page.orders.length;
      after = page.next;
      if (after === undefined) index++;
    }
    await marker.goOn(restoration, { orders, status: statuses[index] ?? "", after });
    return false;
  }

  /** Some orders of a status, and the id after which there may be more. */
  async #page(status: string, after: string | undefined, limit: number) {
    const orders = await this.#options.store.listStates({ status, after, limit });
    return { orders, next: orders.length === limit ? orders.at(-1)?.id : undefined };
  }

  /**
   * Gives a page's orders the jobs that they lack, if they have not moved since then, and cancels those that are too late.
   *
   * @returns how many had no job.
   */
  async #tend(
    page: readonly OrderState[],
    { untouchedSince }: { readonly untouchedSince: number },
  ): Promise<number> {
    const { dispatcher } = this.#options;
    const late = page.filter((order) => this.#isLate(order));
    await this.#cancelLate(late);
    const waiting = page.filter(
      (order) => isOnItsWay(order) && order.updatedAt.getTime() <= untouchedSince && !late.includes(order),
    );
    await dispatcher.replace(
      [...late, ...waiting.filter(isCancelled)].flatMap((order) => this.#undoingInstead(order)),
    );
    return dispatcher.revive(
      waiting.filter((order) => !isCancelled(order)).flatMap((order) => this.#due(order)),
    );
  }

  #isLate({ status, createdAt, cancelRequestedAt }: OrderState): boolean {
    const deadline = this.#deadlines.get(status);
    if (deadline === undefined || cancelRequestedAt !== null) return false;
    return Date.now() - createdAt.getTime() >= deadline.milliseconds;
  }

  /** Orders of one status. */
  async #cancelLate(orders: readonly OrderState[]): Promise<void> {
    const { store, log } = this.#options;
    const status = orders[0]?.status;
    const deadline = status === undefined ? undefined : this.#deadlines.get(status);
    if (status === undefined || deadline === undefined) return;
    const reason = `not ${inWords(deadline.stage.to)} within ${durationInWords(deadline.milliseconds)}`;
    const cancelled = await store.requestCancellations({
      orderIds: orders.map(({ id }) => id),
      status,
      reason,
      at: new Date(),
    });
    log.info({ status, orders: cancelled, reason }, "cancelled orders that missed their deadline");
  }

  #due({ id, status }: OrderState): DueJob[] {
    const transition = this.#options.lifecycle.due(status);
    return transition ? [{ orderId: id, transition }] : [];
  }

  /** What undoes an order, whatever job it has now. */
  #undoingInstead(order: OrderState): Replacement[] {
    const transition = this.#options.lifecycle.cancelling(order.status);
    return this.#due(order).flatMap((job) =>
      transition ? [{ job, by: { orderId: order.id, transition } }] : [],
    );
  }
}

function newWalk(now: number): Walk {
  return { beganAt: now, after: undefined, tally: new Tally() };
}

/** Counts what a walk comes by. */
class Tally {
  readonly #moving = { count: 0, oldest: Infinity };
  readonly #failed = { count: 0, oldest: Infinity };
  readonly #cancelling = { count: 0, oldest: Infinity };

  add(orders: readonly OrderState[]): void {
    for (const order of orders) {
      const seen = this.#kindOf(order);
      seen.count++;
      seen.oldest = Math.min(seen.oldest, order.updatedAt.getTime());
    }
  }

  get total(): Walked {
    return { moving: this.#moving, failed: this.#failed, cancelling: this.#cancelling, at: Date.now() };
  }

  #kindOf(order: OrderState) {
    if (!isOnItsWay(order)) return this.#failed;
    return isCancelled(order) ? this.#cancelling : this.#moving;
  }
}

function isCancelled({ cancelRequestedAt }: OrderState): boolean {
  return cancelRequestedAt !== null;
}

/** One that rests in a failed set waits for a person, unless it is to be cancelled since then. */
function isOnItsWay({ failedAt, cancelRequestedAt }: OrderState): boolean {
  return failedAt === null || (cancelRequestedAt !== null && cancelRequestedAt >= failedAt);
}

/** A status within a sentence. */
function inWords(status: string): string {
  return status.toLowerCase().replaceAll("_", " ");
}
