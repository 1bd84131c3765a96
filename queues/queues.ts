import { Queue } from "bullmq";
import { send, type Connection, type RedisCommand } from "./connection.ts";
import {
  DispatcherUnavailableError,
  type Dispatcher,
  type DueJob,
  type Replacement,
} from "../src/engine/ports.ts";
import type { Lifecycle } from "../src/order/lifecycle.ts";
import { settingsOf, type StageSettings, type Step } from "../src/order/stage.ts";
import type { JobTracing } from "../src/platform/tracing/contract.ts";
import { nowMs } from "../src/platform/clock.ts";
import { isRedisUnavailable } from "./errors.ts";
import { jobId, jobOptions, SCORES_PER_MS, type JobData } from "./job.ts";
import { queuePrefix } from "./keys.ts";
import { SuspectTurns } from "./suspect-turns.ts";

/** Length of a queue's event stream, which only pages that watch the queue read. */
const EVENTS_KEPT = 1_000;

/** A delayed job is never so late, nor due so much later than its delay, unless a clock is wrong. Milliseconds. */
const OVERDUE_MS = 5_000;

/** Delayed jobs of each queue that are checked although their orders may have ended. */
const LAST_DELAYED = 100;

/** A job of a queue. */
interface JobPlace {
  readonly queue: Queue<JobData>;
  readonly id: string;
}

/** A pipeline's queues, one per step. The only place that opens queues. Adds jobs and processes none. */
export class Queues implements Dispatcher {
  readonly #queues: ReadonlyMap<string, Queue<JobData>>;
  readonly #connection: Connection;
  readonly #lifecycle: Lifecycle;
  readonly #overrides: Partial<StageSettings>;
  readonly #tracing: JobTracing | undefined;

  constructor(options: {
    readonly connection: Connection;
    readonly lifecycle: Lifecycle;
    /** The operator's settings, which override every step's own. */
    readonly overrides?: Partial<StageSettings>;
    readonly tracing?: JobTracing | undefined;
    readonly onError: (error: Error) => void;
  }) {
    this.#connection = options.connection;
    this.#lifecycle = options.lifecycle;
    this.#tracing = options.tracing;
    this.#overrides = options.overrides ?? {};
    this.#queues = new Map(
      options.lifecycle.steps.map((step) => {
        const queue = new Queue<JobData>(step.name, {
          connection: options.connection,
          prefix: queuePrefix(options.connection, step),
          streams: { events: { maxLen: EVENTS_KEPT } },
          // A queue opened while Redis is away must work later; the health check reports readiness.
          skipWaitingForReady: true,
          skipVersionCheck: true,
          ...(options.tracing ? { telemetry: options.tracing.telemetry } : {}),
        });
        queue.on("error", options.onError);
        return [step.name, queue];
      }),
    );
  }

  /** All queues, in pipeline order. */
  get all(): readonly Queue<JobData>[] {
    return [...this.#queues.values()];
  }

  /** The queue of a step. @throws {Error} for a step of another pipeline. */
  of(step: Pick<Step, "name">): Queue<JobData> {
    const queue = this.#queues.get(step.name);
    if (queue === undefined) throw new Error(`no queue is open for ${step.name}`);
    return queue;
  }

  /** When suspected orders may be taken from a step's queue. @throws {Error} for a step of another pipeline. */
  turnsOf(step: Step): SuspectTurns {
    return new SuspectTurns(this.of(step), this.#connection, settingsOf(step, this.#overrides).rateLimit);
  }

  /**
   * Queues each order for its next step. Adding a job twice does nothing. If it throws, some jobs may have been
   * added. @throws {DispatcherUnavailableError} {Error} of Redis.
   */
  enqueue(due: readonly DueJob[]): Promise<void> {
    return dispatching(() => this.#enqueue(due));
  }

  async #enqueue(due: readonly DueJob[]): Promise<void> {
    const traces = await this.#tracing?.tracesOf(due.map(({ orderId }) => orderId));
    for (const step of new Set(due.map((job) => job.transition.step))) {
      const options = jobOptions(settingsOf(step, this.#overrides));
      const jobs = due.filter((job) => job.transition.step === step);
      const suspects = jobs.filter(({ suspect }) => suspect);
      const turns = suspects.length > 0 ? await this.turnsOf(step).take(suspects.length) : [];
      const delays = new Map(suspects.map((job, index) => [job, turns[index]]));
      await this.of(step).addBulk(
        jobs.map((job) => ({
          name: step.name,
          data: dataOf(job),
          opts: {
            ...options,
            ...delayedBy(Math.max(delays.get(job) ?? 0, job.delayMs ?? 0)),
            jobId: jobId(job.orderId, job.transition),
            ...traced(traces?.get(job.orderId)),
          },
        })),
      );
    }
  }

  /**
   * Like {@link enqueue}, for orders whose jobs may be lost: adds the missing jobs. A finished job with the same id will
   * never run again and would block the new one, so it is removed first. If it had failed, the order was resumed, and the
   * new job is a suspect: resumed orders get a share of the places and do not delay the others. With a rate limit, each
   * waits for its turn.
   *
   * @returns the number of jobs added. @throws {DispatcherUnavailableError} {Error} of Redis.
   */
  revive(due: readonly DueJob[]): Promise<number> {
    return dispatching(() => this.#revive(due));
  }

  async #revive(due: readonly DueJob[]): Promise<number> {
    const [states, underWay] = await Promise.all([this.#states(due), this.areUnderWay(due)]);
    const isLost = (index: number) => states[index] !== "unfinished" && !underWay[index];
    const finished = due.filter((_, index) => isLost(index) && isOver(states[index]));
    const lost = due
      .map((job, index) => (states[index] === "failed" ? { ...job, suspect: true } : job))
      .filter((_, index) => isLost(index));
    // A job retried in the meantime is active and can't be removed; then it is not lost.
    await Promise.allSettled(finished.map((job) => this.#remove(job)));
    await this.#enqueue(lost);
    return lost.length;
  }

  /** See `Dispatcher`. @throws {DispatcherUnavailableError} {Error} of Redis. */
  bringForward(due: readonly DueJob[]): Promise<number> {
    return dispatching(() => this.#bringForward(due));
  }

  async #bringForward(due: readonly DueJob[]): Promise<number> {
    const places = due.map((job) => this.#placeOf(job));
    // Also those that are due last: their orders may have ended, or moved on, and then nobody else looks at them.
    for (const queue of this.all) {
      const last = await this.#connection.zrevrange(queue.toKey("delayed"), 0, LAST_DELAYED - 1);
      places.push(...last.map((id) => ({ queue, id })));
    }
    const areMisplaced = await this.#areMisplaced(places);
    // Fails for jobs that were taken meanwhile, and for those that are here twice.
    const promoted = await Promise.allSettled(
      places
        .filter((_, index) => areMisplaced[index])
        .map(async ({ queue, id }) => (await queue.getJob(id))?.promote()),
    );
    return promoted.filter(({ status }) => status === "fulfilled").length;
  }

  /**
   * Which of these orders nothing will move: they have no job, or a delayed one that is due at a time that no delay
   * explains, and no worker runs them. @throws {Error} of Redis.
   */
  async areStranded(due: readonly DueJob[]): Promise<boolean[]> {
    const [states, underWay, misplaced] = await Promise.all([
      this.#states(due),
      this.areUnderWay(due),
      this.#areMisplaced(due.map((job) => this.#placeOf(job))),
    ]);
    return due.map(
      (_, index) => !underWay[index] && (states[index] !== "unfinished" || misplaced[index] === true),
    );
  }

  #placeOf({ orderId, transition }: DueJob): JobPlace {
    return { queue: this.of(transition.step), id: jobId(orderId, transition) };
  }

  /** Whether each job is delayed, and due later than its delay allows, or overdue. */
  async #areMisplaced(places: readonly JobPlace[]): Promise<boolean[]> {
    const answers = await send(
      this.#connection,
      places.flatMap(({ queue, id }): RedisCommand[] => [
        ["zscore", queue.toKey("delayed"), id],
        ["hget", queue.toKey(id), "delay"],
      ]),
    );
    return places.map((_, index) => {
      const [score, delay] = answers.slice(2 * index, 2 * index + 2);
      if (typeof score !== "string") return false;
      const dueInMs = Number(score) / SCORES_PER_MS - nowMs();
      return dueInMs < -OVERDUE_MS || dueInMs > Number(delay ?? 0) + OVERDUE_MS;
    });
  }

  /**
   * Replaces finished and delayed jobs. A waiting job is kept, since removing it would scan the whole queue.
   * Adds nothing beside an active job: its worker will find that the order's next step has changed. @throws
   * {DispatcherUnavailableError} {Error} of Redis.
   */
  replace(replacements: readonly Replacement[]): Promise<void> {
    return dispatching(() => this.#replace(replacements));
  }

  async #replace(replacements: readonly Replacement[]): Promise<void> {
    const jobs = replacements.map(({ job }) => job);
    const [states, underWay, delayed] = await Promise.all([
      this.#states(jobs),
      this.areUnderWay(jobs),
      this.#ask(jobs, (queue, id) => ["zscore", queue.toKey("delayed"), id]),
    ]);
    const isResting = (index: number) => isOver(states[index]) || delayed[index] !== null;
    await Promise.all(
      jobs.filter((_, index) => isResting(index) && !underWay[index]).map((job) => this.#remove(job)),
    );
    await this.#revive(replacements.flatMap(({ by }, index) => (by && !underWay[index] ? [by] : [])));
  }

  /**
   * Whether a worker is running each order: on this job, or in place, on the job of an earlier transition.
   *
   * @throws {Error} of Redis.
   */
  async areUnderWay(due: readonly Pick<DueJob, "orderId" | "transition">[]): Promise<boolean[]> {
    const jobs = due.flatMap(({ orderId, transition }, index) =>
      this.#lifecycle.upTo(transition).map((each) => ({ index, orderId, transition: each })),
    );
    const locks = await this.#ask(jobs, (queue, id) => ["exists", `${queue.toKey(id)}:lock`]);
    const held = new Set(jobs.filter((_, place) => locks[place] === 1).map(({ index }) => index));
    return due.map((_, index) => held.has(index));
  }

  async #states(due: readonly DueJob[]): Promise<JobState[]> {
    const found = await this.#ask(due, (queue, id) => [
      "hmget",
      queue.toKey(id),
      "timestamp",
      "finishedOn",
      "returnvalue",
    ]);
    return found.map((each) => {
      const [added, finished, returned] = Array.isArray(each) ? each : [];
      // A completed job has a return value, even if empty.
      if (typeof finished === "string") return typeof returned === "string" ? "completed" : "failed";
      return typeof added === "string" ? "unfinished" : "missing";
    });
  }

  /** Runs one command for each job, all at once. */
  #ask(
    due: readonly DueJob[],
    command: (queue: Queue<JobData>, id: string) => RedisCommand,
  ): Promise<unknown[]> {
    const commands = due.map((job) => {
      const { queue, id } = this.#placeOf(job);
      return command(queue, id);
    });
    return send(this.#connection, commands);
  }

  async #remove({ orderId, transition }: DueJob): Promise<void> {
    await this.of(transition.step).remove(jobId(orderId, transition));
  }

  /** Closes the queues but not the connection. */
  async close(): Promise<void> {
    await Promise.all(this.all.map((queue) => queue.close()));
  }
}

/** Converts errors of an unavailable Redis to the engine's. */
async function dispatching<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw error instanceof Error && isRedisUnavailable(error) ? new DispatcherUnavailableError(error) : error;
  }
}

type JobState = "missing" | "unfinished" | "completed" | "failed";

function isOver(state: JobState | undefined): boolean {
  return state === "completed" || state === "failed";
}

function dataOf({ orderId, suspect, putOffs, failed, hasCrashed }: DueJob): JobData {
  return {
    orderId,
    ...(suspect ? { suspect } : {}),
    ...(putOffs ? { putOffs } : {}),
    ...(failed ? { failed } : {}),
    ...(hasCrashed ? { hasCrashed } : {}),
  };
}

function delayedBy(delay: number) {
  return delay ? { delay } : undefined;
}

function traced(metadata: string | undefined) {
  return metadata === undefined ? undefined : { telemetry: { metadata } };
}
