import { Queue } from "bullmq";
import type { ChainableCommander, Redis } from "ioredis";
import {
  DispatcherUnavailableError,
  type Dispatcher,
  type DueJob,
  type Replacement,
} from "../src/engine/ports.ts";
import { settingsOf, type StageSettings, type Step } from "../src/order/stage.ts";
import type { JobTracing } from "../src/platform/tracing/contract.ts";
import { isRedisUnavailable } from "./errors.ts";
import { jobId, jobOptions, type JobData } from "./job.ts";
import { queuePrefix } from "./keys.ts";
import { SuspectTurns } from "./suspect-turns.ts";

/** Entries of a queue's event stream that Redis keeps; only pages that watch the queue read it. */
const EVENTS_KEPT = 1_000;

/** The queues of a pipeline, one a step: the only place where queues are opened. They add jobs and process none. */
export class Queues implements Dispatcher {
  readonly #queues: ReadonlyMap<string, Queue<JobData>>;
  readonly #connection: Redis;
  readonly #overrides: Partial<StageSettings>;
  readonly #tracing: JobTracing | undefined;

  constructor(options: {
    readonly connection: Redis;
    readonly steps: readonly Step[];
    /** An operator's settings over those of every step. */
    readonly overrides?: Partial<StageSettings>;
    readonly tracing?: JobTracing | undefined;
    readonly onError: (error: Error) => void;
  }) {
    this.#connection = options.connection;
    this.#tracing = options.tracing;
    this.#overrides = options.overrides ?? {};
    this.#queues = new Map(
      options.steps.map((step) => {
        const queue = new Queue<JobData>(step.name, {
          connection: options.connection,
          prefix: queuePrefix(options.connection, step),
          streams: { events: { maxLen: EVENTS_KEPT } },
          // Readiness is the health check's business; a queue opened while Redis is away must work later.
          skipWaitingForReady: true,
          skipVersionCheck: true,
          ...(options.tracing ? { telemetry: options.tracing.telemetry } : {}),
        });
        queue.on("error", options.onError);
        return [step.name, queue];
      }),
    );
  }

  /** All queues, in the order of the pipeline. */
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
   * Puts orders into the queues of what they wait for. Adding what is there already does nothing. When it
   * throws, some may have been added. @throws {DispatcherUnavailableError} {Error} of Redis.
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
          data: { orderId: job.orderId, ...(job.suspect ? { suspect: job.suspect } : {}) },
          opts: {
            ...options,
            ...delayedBy(delays.get(job)),
            jobId: jobId(job.orderId, job.transition),
            ...traced(traces?.get(job.orderId)),
          },
        })),
      );
    }
  }

  /**
   * Like {@link enqueue}, for orders that may have been lost: adds the jobs that are missing. A finished one under the
   * same id, which will never run again and would keep the new one out, is removed first. Where that one had failed,
   * somebody has the order go on, and the new job's order is suspected: so orders that are resumed come back as a share
   * of the stream, and not in front of it. Behind a rate limit each waits for its turn.
   *
   * @returns how many had to be added. @throws {DispatcherUnavailableError} {Error} of Redis.
   */
  revive(due: readonly DueJob[]): Promise<number> {
    return dispatching(() => this.#revive(due));
  }

  async #revive(due: readonly DueJob[]): Promise<number> {
    const states = await this.#states(due);
    const finished = due.filter((_, index) => isOver(states[index]));
    const lost = due
      .map((job, index) => (states[index] === "failed" ? { ...job, suspect: true } : job))
      .filter((_, index) => states[index] !== "unfinished");
    // A job that somebody has retried in the meantime is active, and refuses: then it is not lost.
    await Promise.allSettled(finished.map((job) => this.#remove(job)));
    await this.#enqueue(lost);
    return lost.length;
  }

  /**
   * Puts jobs in the place of others that rest, or wait for their time; one that waits in line is left there, since to
   * take it out Redis would have to go through the whole line. Nothing is added beside a job that runs: whoever runs it
   * will find that the order waits for something else. @throws {DispatcherUnavailableError} {Error} of Redis.
   */
  replace(replacements: readonly Replacement[]): Promise<void> {
    return dispatching(() => this.#replace(replacements));
  }

  async #replace(replacements: readonly Replacement[]): Promise<void> {
    const jobs = replacements.map(({ job }) => job);
    const [states, locked, delayed] = await Promise.all([
      this.#states(jobs),
      this.#ask(jobs, (pipeline, queue, id) => pipeline.exists(`${queue.toKey(id)}:lock`)),
      this.#ask(jobs, (pipeline, queue, id) => pipeline.zscore(queue.toKey("delayed"), id)),
    ]);
    const isRunning = (index: number) => states[index] === "unfinished" && locked[index] === 1;
    const isResting = (index: number) => isOver(states[index]) || delayed[index] !== null;
    await Promise.all(
      jobs.filter((_, index) => isResting(index) && !isRunning(index)).map((job) => this.#remove(job)),
    );
    await this.#revive(replacements.filter((_, index) => !isRunning(index)).map(({ by }) => by));
  }

  async #states(due: readonly DueJob[]): Promise<JobState[]> {
    const found = await this.#ask(due, (pipeline, queue, id) =>
      pipeline.hmget(queue.toKey(id), "timestamp", "finishedOn", "returnvalue"),
    );
    return found.map((each) => {
      const [added, finished, returned] = Array.isArray(each) ? each : [];
      // A completed job has a value, be it none.
      if (typeof finished === "string") return typeof returned === "string" ? "completed" : "failed";
      return typeof added === "string" ? "unfinished" : "missing";
    });
  }

  /** Asks Redis one question about each of the jobs, all in one round trip. */
  async #ask(
    due: readonly DueJob[],
    ask: (pipeline: ChainableCommander, queue: Queue<JobData>, id: string) => unknown,
  ): Promise<unknown[]> {
    const pipeline = this.#connection.pipeline();
    for (const { orderId, transition } of due)
      ask(pipeline, this.of(transition.step), jobId(orderId, transition));
    return ((await pipeline.exec()) ?? []).map(([error, answer]) => {
      if (error) throw error;
      return answer;
    });
  }

  async #remove({ orderId, transition }: DueJob): Promise<void> {
    await this.of(transition.step).remove(jobId(orderId, transition));
  }

  /** Closes the queues, not the connection. */
  async close(): Promise<void> {
    await Promise.all(this.all.map((queue) => queue.close()));
  }
}

/** Says so when Redis is away, in words that the engine knows. */
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

function delayedBy(delay: number | undefined) {
  return delay ? { delay } : undefined;
}

function traced(metadata: string | undefined) {
  return metadata === undefined ? undefined : { telemetry: { metadata } };
}
