import type { Connection } from "../../../queues/connection.ts";
import type { Database } from "../../../db/database.ts";
import { countByStage, FAILED, WAITING } from "../../../db/marked.ts";
import { findOldest, findUntouched } from "../../../db/order-states.ts";
import {
  listDisabled,
  listFailing,
  type DisabledEndpoint,
  type FailingEndpoint,
} from "../../../db/webhook-endpoints.ts";
import { readHeartbeats, type Heartbeat } from "../../../queues/telemetry/heartbeats.ts";
import {
  minuteOf,
  noCounts,
  quantile,
  readCounts,
  sumOf,
  type StepCounts,
} from "../../../queues/telemetry/minute-counts.ts";
import type { Queues } from "../../../queues/queues.ts";
import type { Check, Health } from "../readiness.ts";
import type { BoundedCount } from "../../engine/ports.ts";
import { CANCEL, type Lifecycle } from "../../order/lifecycle.ts";
import { shared } from "../../platform/shared.ts";
import { clockSkewMs, nowMs, timestamp } from "../../platform/clock.ts";

/** The state of a step's queue and orders. Undefined values are unavailable or don't apply. */
export interface StepStatus {
  readonly name: string;
  /** Undefined if there is no queue or Redis is away. */
  readonly queue:
    | {
        readonly waiting: number;
        readonly delayed: number;
        readonly paused: boolean;
      }
    | undefined;
  /**
   * Orders that workers have in the step, by their heartbeats: one job may take an order through several steps. Undefined
   * if there are no workers or Redis is away.
   */
  readonly active: number | undefined;
  /** Failed orders; undefined while MySQL is away. */
  readonly failed: BoundedCount | undefined;
  /** Orders that wait for somebody else to act; undefined while MySQL is away. */
  readonly waiting: BoundedCount | undefined;
  /** The order that has waited longest for this step, but for those. */
  readonly oldest: { readonly id: string; readonly since: Date } | undefined;
  /** Orders in MySQL that have not moved for minutes and that nothing will move, by their jobs; undefined if not known. */
  readonly stranded?: BoundedCount | undefined;
  /** Throughput over the last minutes; undefined while Redis is away. */
  readonly pace: { readonly perMinute: number; readonly p95Ms: number | undefined } | undefined;
}

export interface Status {
  readonly at: Date;
  /** How far this process's clock is ahead of MySQL's, in milliseconds; undefined if that is not known. */
  readonly clockSkewMs?: number | undefined;
  readonly mysql: Check;
  /** Undefined if there are no queues. */
  readonly redis?: Check;
  readonly steps: readonly StepStatus[];
  /** Webhook endpoints that have failed for a while; undefined while MySQL is away. */
  readonly failingEndpoints?: readonly FailingEndpoint[] | undefined;
  /** Webhook endpoints that Conveyor has disabled; undefined while MySQL is away. */
  readonly disabledEndpoints?: readonly DisabledEndpoint[] | undefined;
  /** Undefined if there are no queues or Redis is away. */
  readonly workers?: readonly Heartbeat[];
  /** What could not be read, such as "failed orders". */
  readonly unread?: readonly string[];
}

/** The last hour by minute, without the current one, for the plots. */
export interface History {
  /** The start of each minute, in seconds since 1970. */
  readonly minutes: readonly number[];
  readonly steps: readonly {
    readonly name: string;
    /** Jobs per minute. */
    readonly done: readonly number[];
    /** Milliseconds; null if there were no jobs. */
    readonly p95: readonly (number | null)[];
  }[];
}

export interface StatusOptions {
  readonly database: Database;
  /** For counts. */
  readonly reads: Database;
  readonly redis?: Connection | undefined;
  readonly queues?: Queues | undefined;
  readonly health: Pick<Health, "check">;
  readonly lifecycle: Lifecycle;
}

/** Count at most this many failed and waiting orders. */
const COUNTED = 1_000;
const NONE: BoundedCount = { count: 0, more: false };
const HISTORY_MINUTES = 60;
/** Minutes over which throughput is averaged, including the current one. */
const PACE_MINUTES = 5;
/** Milliseconds after which orders that have not moved are looked for in the queues, and how many of each stage. */
const STRANDED_AFTER_MS = 120_000;
const STRANDED_COUNTED = 100;
/** Query the servers at most this often, however many pages are open. */
const FRESH_MS = 1_000;

/** Reads everything that the overview shows. Leaves out what does not answer. */
export class StatusReader {
  readonly #options: StatusOptions;
  readonly status = shared(FRESH_MS, () => this.#status());
  readonly history = shared(FRESH_MS, () => this.#history());

  constructor(options: StatusOptions) {
    this.#options = options;
  }

  async #status(): Promise<Status> {
    const { database, reads, redis, queues, health, lifecycle } = this.#options;
    const names = lifecycle.steps.map(({ name }) => name);
    const unread: string[] = [];
    const look = async <T>(what: string, work: Promise<T>): Promise<T | undefined> => {
      const found = await ifPossible(work);
      if (found === undefined) unread.push(what);
      return found;
    };
    const [{ checks }, failures, waiting, oldest, stranded, jobs, counts, workers, failing, disabled] =
      await Promise.all([
        health.check(),
        look("failed orders", countByStage(reads, FAILED, COUNTED)),
        look("waiting orders", countByStage(reads, WAITING, COUNTED)),
        look("the oldest orders", this.#oldest()),
        queues && look("orders that stand still", this.#stranded(queues)),
        queues && look("the queues", this.#jobs(queues)),
        redis &&
          look("throughput", readCounts(redis, names, { last: minuteOf(nowMs()), minutes: PACE_MINUTES })),
        redis && look("workers", readHeartbeats(redis)),
        look("failing webhook endpoints", listFailing(database)),
        look("disabled webhook endpoints", listDisabled(database)),
      ]);
    return {
      at: timestamp(),
      clockSkewMs: clockSkewMs(),
      mysql: checks.mysql,
      ...(checks.redis && { redis: checks.redis }),
      ...(workers && { workers }),
      unread,
      failingEndpoints: failing,
      disabledEndpoints: disabled,
      steps: names.map((name): StepStatus => {
        const counted = counts?.get(name);
        return {
          name,
          queue: jobs?.get(name),
          active: workers && activeIn(name, workers),
          failed: failures && (failures.get(name) ?? NONE),
          waiting: waiting && (waiting.get(name) ?? NONE),
          oldest: oldest?.get(name),
          stranded: stranded?.get(name),
          pace: counted && paceOf(counted),
        };
      }),
    };
  }

  async #jobs(queues: Queues): Promise<Map<string, NonNullable<StepStatus["queue"]>>> {
    const found = await Promise.all(
      queues.all.map(async (queue) => {
        const [counts, paused] = await Promise.all([
          queue.getJobCounts("waiting", "prioritized", "delayed"),
          queue.isPaused(),
        ]);
        const { waiting = 0, prioritized = 0, delayed = 0 } = counts;
        return [queue.name, { waiting: waiting + prioritized, delayed, paused }] as const;
      }),
    );
    return new Map(found);
  }

  async #oldest(): Promise<Map<string, { id: string; since: Date }>> {
    const { reads, lifecycle } = this.#options;
    const found = new Map<string, { id: string; since: Date }>();
    // Orders being cancelled can be in any status, so they are skipped.
    for (const { name } of lifecycle.steps.filter((step) => step.name !== CANCEL.name)) {
      const order = await findOldest(reads, lifecycle.statusBefore({ name }));
      if (order) found.set(name, { id: order.id, since: order.updatedAt });
    }
    return found;
  }

  /** What MySQL has in progress is compared with the queues: where an order is, it alone knows. */
  async #stranded(queues: Queues): Promise<Map<string, BoundedCount>> {
    const { database, lifecycle } = this.#options;
    const page = { since: new Date(nowMs() - STRANDED_AFTER_MS), limit: STRANDED_COUNTED };
    const found = new Map<string, BoundedCount>();
    for (const { name } of lifecycle.steps.filter((step) => step.name !== CANCEL.name)) {
      const status = lifecycle.statusBefore({ name });
      const due = (await findUntouched(database, status, page)).flatMap(({ id, isCancelled }) => {
        const transition = isCancelled ? lifecycle.cancelling(status) : lifecycle.due(status);
        return transition ? [{ orderId: id, transition }] : [];
      });
      const count = (await queues.areStranded(due)).filter(Boolean).length;
      found.set(name, { count, more: count === STRANDED_COUNTED });
    }
    return found;
  }

  async #history(): Promise<History> {
    const { redis, lifecycle } = this.#options;
    // The current minute would look like a drop until it is over.
    const last = minuteOf(nowMs()) - 1;
    const names = lifecycle.steps.map(({ name }) => name);
    const read = redis && (await ifPossible(readCounts(redis, names, { last, minutes: HISTORY_MINUTES })));
    const nothing = Array.from({ length: HISTORY_MINUTES }, noCounts);
    return {
      minutes: nothing.map((_, index) => (last - HISTORY_MINUTES + 1 + index) * 60),
      steps: names.map((name) => {
        const counts = read?.get(name) ?? nothing;
        return {
          name,
          done: counts.map(({ done }) => done),
          p95: counts.map((each) => quantile(each, 0.95) ?? null),
        };
      }),
    };
  }
}

function activeIn(name: string, workers: readonly Heartbeat[]): number {
  const own = workers.flatMap(({ steps }) => steps.filter((step) => step.name === name));
  return own.reduce((sum, { held }) => sum + held, 0);
}

function paceOf(counts: readonly StepCounts[]): NonNullable<StepStatus["pace"]> {
  const sum = sumOf(counts);
  const intoMinute = (nowMs() % 60_000) / 60_000;
  return { perMinute: sum.done / (counts.length - 1 + intoMinute), p95Ms: quantile(sum, 0.95) };
}

async function ifPossible<T>(work: Promise<T>): Promise<T | undefined> {
  try {
    return await work;
  } catch {
    return undefined;
  }
}
