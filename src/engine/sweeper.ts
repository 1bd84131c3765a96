import { durationInWords } from "../platform/duration.ts";
import type { Lease } from "../platform/lease.ts";
import type { Logger } from "../platform/log.ts";
import { Repeat } from "../platform/repeat.ts";
import type { Deadline, Lifecycle } from "../order/lifecycle.ts";
import { OPERATOR } from "../order/stage.ts";
import { describeError } from "../platform/describe-error.ts";
import type { Service } from "../platform/service.ts";
import { settleWithin } from "../platform/time-limit.ts";
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
import { nowMs, timestamp, TOLERATED_MS } from "../platform/clock.ts";

/** Much longer than a page takes unless a server hangs. Milliseconds. */
const STOP_WITHIN_MS = 2_000;
/** Orders per page: a few milliseconds' work for MySQL, Redis and this process. */
const PAGE = 500;
/** How long after a stage that waits was asked it is asked again, in case a wake was lost. Milliseconds. */
const ASK_AGAIN_MS = 5 * 60_000;
/**
 * How long after a failover orders that have only just moved may still count as lost: longer than a worker's lock lasts,
 * which may be on a job that it had finished. Milliseconds.
 */
const SETTLED_MS = 20_000;
/** The share of its time that the leader spends sweeping, however many orders wait. */
const SWEEPING_SHARE = 0.1;
/** The same during a restoration: higher, because workers are idle until it is done. */
const RESTORING_SHARE = 0.5;

/** A number of orders in one status. */
export interface Seen {
  readonly count: number;
  /** When the oldest of them arrived, in milliseconds since 1970; Infinity if there are none. */
  readonly oldest: number;
}

/** What one walk over a status found. */
export interface Walked {
  readonly moving: Seen;
  /** Waiting for somebody else to act. */
  readonly waiting: Seen;
  /** Waiting for an operator. */
  readonly operator: Seen;
  /** In a failed set. */
  readonly failed: Seen;
  /** With a cancellation request. */
  readonly cancelling: Seen;
  /** When the walk ended. */
  readonly at: number;
}

/** Receives what the sweeper sees. */
export interface SweepObserver {
  walked(status: string, walked: Walked): void;
  /** Another worker leads now: discard what this one has seen. */
  doesNotLead(): void;
}

export interface SweeperOptions {
  readonly store: OrderStore;
  readonly dispatcher: Dispatcher;
  /**
   * Held by the process that sweeps; undefined where every process does. Two sweepers at once do no harm, only double
   * work.
   */
  readonly lease: Lease | undefined;
  /** Undefined if the dispatcher cannot lose jobs. */
  readonly marker: JobMarker | undefined;
  readonly lifecycle: Lifecycle;
  /** By status. Defaults to the stages' own. */
  readonly deadlines?: ReadonlyMap<string, Deadline>;
  readonly observer?: SweepObserver | undefined;
  readonly log: Logger;
  /** The least time between the starts of two walks. Milliseconds. */
  readonly intervalMs: number;
  /** An order that has not moved for this long counts as lost. Milliseconds. */
  readonly afterMs: number;
}

/** A walk's position in one status. */
interface Walk {
  /** `performance.now()`. */
  readonly beganAt: number;
  /** Whether it looks when delayed jobs are due. */
  readonly checksDelays: boolean;
  /** Whether also young orders may have lost their jobs. */
  readonly isThorough: boolean;
  /** Undefined at the end. */
  readonly after: string | undefined;
  readonly tally: Tally;
}

/**
 * Closes every gap between MySQL and Redis, and enforces deadlines. One worker at a time leads. It walks the open
 * orders status by status, a page at a time:
 *
 * - An order that has not moved for `afterMs` gets its due job again, if that is missing or has ended. After a MySQL
 *   outage the wait starts when MySQL is back: nobody could move the order before, and an API may still withdraw it
 *   (see withdrawals.ts). So does one whose job is due later than its delay allows, or should have run by now: it was put
 *   off by a clock that was wrong.
 * - An order that waits for somebody else to act has no job, and needs none. It gets one once it was woken, when its wait
 *   is over, and every few minutes.
 * - An order past its deadline is cancelled.
 * - After a failover, or a restart of Redis, a walk begins at once, and includes orders that have only just moved: Redis
 *   may have lost the last jobs that it took. So do all walks until no lock of before is left.
 * - Redis holds a marker. If it is missing, Redis has lost its data, and every open order is queued again, those
 *   nearest to their end first.
 *
 * A page is read by its place in the index, so its cost does not depend on how many orders wait. Between pages the
 * leader rests in proportion to how long the page took: a backlog makes the walk longer, never heavier, and busy
 * servers slow it down. This needs no index on when orders moved, which every transition would have to write.
 */
export class Sweeper implements Service {
  readonly name = "sweeper";
  readonly #options: SweeperOptions;
  readonly #deadlines: ReadonlyMap<string, Deadline>;
  readonly #rounds: Repeat;
  readonly #walks = new Map<string, Walk>();
  /** When a walk over each status last looked at delays (`performance.now()`). */
  readonly #delaysCheckedAt = new Map<string, number>();
  /** What the marker last told. */
  #history: string | undefined;
  /** When it was first seen to tell something else (`performance.now()`). */
  #historyChangedAt = -Infinity;
  /** When MySQL was first seen back (`performance.now()`); Infinity during an outage. */
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

  start(): void {
    this.#rounds.start();
  }

  /** Finishes the page under way, unless a server hangs, and releases the lease. */
  async stop(): Promise<void> {
    await settleWithin(STOP_WITHIN_MS, this.#rounds.stop(), () => undefined);
    await this.#options.lease?.release();
  }

  /**
   * If this worker leads, does the next page of each status, or of a restoration.
   *
   * @returns milliseconds to rest. @throws when MySQL or Redis is away; the next round tries again.
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
    // Check before writing anything: this may no longer be our Redis.
    const restoration = await marker?.restoration();
    await this.#noteHistory();
    if (lease && (await lease.hold()) === undefined) {
      observer?.doesNotLead();
      return intervalMs;
    }
    const isDone = await (marker && restoration ? this.#restore(marker, restoration) : this.#sweepPages());
    if (this.#backSince === Infinity) this.#backSince = performance.now();
    const share = restoration ? RESTORING_SHARE : SWEEPING_SHARE;
    const busyMs = performance.now() - startedAt;
    const restMs = Math.min(busyMs * (1 / share - 1), intervalMs);
    return isDone ? Math.max(restMs, this.#untilNextWalk()) : restMs;
  }

  /** @returns whether every walk has reached its end. */
  async #sweepPages(): Promise<boolean> {
    const { lifecycle, intervalMs, afterMs, observer, log } = this.#options;
    for (const status of lifecycle.statuses.filter((each) => !lifecycle.hasEnded(each))) {
      const now = performance.now();
      const last = this.#walks.get(status);
      const isOutdated = last !== undefined && last.beganAt < this.#historyChangedAt;
      if (last && !isOutdated && last.after === undefined && now < last.beganAt + intervalMs) continue;
      const walk = last?.after === undefined || isOutdated ? this.#newWalk(status) : last;
      const { after, tally, checksDelays, isThorough } = walk;
      const page = await this.#page(status, after, PAGE);
      const untouchedSince = this.#untouchedSince(isThorough ? 0 : afterMs);
      const revived = await this.#repair(page.orders, { untouchedSince, checksDelays });
      if (revived > 0) log.info({ status, orders: revived }, "requeued orders that had stopped");
      tally.add(page.orders);
      if (page.next === undefined) observer?.walked(status, tally.total);
      this.#walks.set(status, { ...walk, after: page.next });
    }
    return [...this.#walks.values()].every((walk) => walk.after === undefined);
  }

  /** A process whose clock is behind puts off its jobs to the past, so they are not looked at with every walk. */
  #newWalk(status: string): Walk {
    const beganAt = performance.now();
    const checksDelays = beganAt - (this.#delaysCheckedAt.get(status) ?? -Infinity) >= this.#options.afterMs;
    if (checksDelays) this.#delaysCheckedAt.set(status, beganAt);
    const isThorough = beganAt - this.#historyChangedAt < SETTLED_MS;
    return { beganAt, checksDelays, isThorough, after: undefined, tally: new Tally() };
  }

  /** @param forMs how long an order has not moved that counts as lost. */
  #untouchedSince(forMs: number): number {
    return performance.now() - this.#options.afterMs < this.#backSince ? -Infinity : nowMs() - forMs;
  }

  async #noteHistory(): Promise<void> {
    const history = await this.#options.marker?.history();
    if (history === undefined) return;
    if (this.#history !== undefined && this.#history !== history) {
      this.#historyChangedAt = performance.now();
      this.#options.log.info("Redis was restarted, or has failed over: looking for orders whose job it lost");
    }
    this.#history = history;
  }

  #untilNextWalk(): number {
    const { intervalMs } = this.#options;
    const oldest = Math.min(...[...this.#walks.values()].map((walk) => walk.beganAt));
    return this.#walks.size === 0 ? intervalMs : oldest + intervalMs - performance.now();
  }

  /**
   * Queues a page of open orders. Redis holds the progress, so that the next leader can continue.
   *
   * @returns whether it was the last page.
   */
  async #restore(marker: JobMarker, restoration: Restoration): Promise<boolean> {
    const { lifecycle, log } = this.#options;
    const statuses = lifecycle.statuses.filter((each) => !lifecycle.hasEnded(each)).toReversed();
    let { orders, after } = restoration;
    // Start over if the restoration began under a pipeline with other statuses.
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
      orders += await this.#repair(page.orders, { untouchedSince: Infinity, checksDelays: false });
      left -= page.orders.length;
      after = page.next;
      if (after === undefined) index++;
    }
    await marker.goOn(restoration, { orders, status: statuses[index] ?? "", after });
    return false;
  }

  /** One page of a status, and the id to continue after; undefined at the end. */
  async #page(status: string, after: string | undefined, limit: number) {
    const orders = await this.#options.store.listStates({ status, after, limit });
    return { orders, next: orders.length === limit ? orders.at(-1)?.id : undefined };
  }

  /**
   * Queues missing jobs for orders untouched since then, and cancels those past their deadline.
   *
   * @returns how many had no job, or one that was due at the wrong time.
   */
  async #repair(
    page: readonly OrderState[],
    { untouchedSince, checksDelays }: { readonly untouchedSince: number; readonly checksDelays: boolean },
  ): Promise<number> {
    const { dispatcher } = this.#options;
    const late = page.filter((order) => this.#isLate(order));
    await this.#cancelLate(late);
    const asked = nowMs();
    const stopped = page.filter(
      (order) =>
        isOnItsWay(order) &&
        (isWaiting(order) ? isToBeAsked(order, asked) : isUntouched(order, untouchedSince)) &&
        !late.includes(order),
    );
    await dispatcher.replace(
      [...late, ...stopped.filter(isCancelled)].flatMap((order) => this.#cancelJobFor(order)),
    );
    const due = stopped.filter((order) => !isCancelled(order)).flatMap((order) => this.#due(order));
    const forward = checksDelays ? await dispatcher.bringForward?.(due) : 0;
    return (await dispatcher.revive(due)) + (forward ?? 0);
  }

  #isLate({
    status,
    createdAt,
    dueFrom,
    cancelRequestedAt,
    waitingSince,
    waitingUntil,
    holds,
  }: OrderState): boolean {
    // While it is held, or waits for stock, nobody can be in time.
    if (isHeld({ holds }) || (waitingSince !== null && waitingUntil === null)) return false;
    const deadline = this.#deadlines.get(status);
    if (deadline === undefined || cancelRequestedAt !== null) return false;
    return nowMs() - (dueFrom ?? createdAt).getTime() >= deadline.milliseconds;
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
      at: timestamp(),
    });
    log.info({ status, orders: cancelled, reason }, "cancelled orders that missed their deadline");
  }

  #due({ id, status }: OrderState): DueJob[] {
    const transition = this.#options.lifecycle.due(status);
    return transition ? [{ orderId: id, transition }] : [];
  }

  /** Swaps the order's due job for the one that cancels it. */
  #cancelJobFor(order: OrderState): Replacement[] {
    const transition = this.#options.lifecycle.cancelling(order.status);
    return this.#due(order).flatMap((job) =>
      transition ? [{ job, by: { orderId: order.id, transition } }] : [],
    );
  }
}

/** Counts the orders of a walk. */
class Tally {
  readonly #moving = { count: 0, oldest: Infinity };
  readonly #waiting = { count: 0, oldest: Infinity };
  readonly #operator = { count: 0, oldest: Infinity };
  readonly #failed = { count: 0, oldest: Infinity };
  readonly #cancelling = { count: 0, oldest: Infinity };

  add(orders: readonly OrderState[]): void {
    for (const order of orders) {
      const seen = this.#kindOf(order);
      seen.count++;
      seen.oldest = Math.min(seen.oldest, (order.waitingSince ?? order.updatedAt).getTime());
    }
  }

  get total(): Walked {
    return {
      moving: this.#moving,
      waiting: this.#waiting,
      operator: this.#operator,
      failed: this.#failed,
      cancelling: this.#cancelling,
      at: nowMs(),
    };
  }

  #kindOf(order: OrderState) {
    if (!isOnItsWay(order)) return this.#failed;
    if (isCancelled(order)) return this.#cancelling;
    if (!isWaiting(order)) return this.#moving;
    return order.waitingFor?.startsWith(OPERATOR) ? this.#operator : this.#waiting;
  }
}

function isCancelled({ cancelRequestedAt }: OrderState): boolean {
  return cancelRequestedAt !== null;
}

function isHeld({ holds }: Pick<OrderState, "holds">): boolean {
  return holds !== null && holds.length > 0;
}

function isWaiting({ waitingSince }: OrderState): boolean {
  return waitingSince !== null;
}

/** Whether a stage that waits has to be asked again. It was last asked at `updatedAt`. */
function isToBeAsked({ updatedAt, waitingUntil, wokenAt }: OrderState, now: number): boolean {
  const isOver = waitingUntil !== null && waitingUntil.getTime() <= now && waitingUntil > updatedAt;
  return wokenAt !== null || isOver || now - updatedAt.getTime() >= ASK_AGAIN_MS;
}

/** Also if it was changed in the future: by a clock that was wrong. */
function isUntouched({ updatedAt }: OrderState, since: number): boolean {
  return updatedAt.getTime() <= since || updatedAt.getTime() > nowMs() + TOLERATED_MS;
}

/** A failed order waits for a person, unless it was cancelled after it failed. */
function isOnItsWay({ failedAt, cancelRequestedAt }: OrderState): boolean {
  return failedAt === null || (cancelRequestedAt !== null && cancelRequestedAt >= failedAt);
}

/** A status as words in a sentence. */
function inWords(status: string): string {
  return status.toLowerCase().replaceAll("_", " ");
}
