import { DelayedError, UnrecoverableError, WaitingError, Worker, type Job } from "bullmq";
import type { Redis } from "ioredis";
import { DatabaseError } from "../db/errors.ts";
import type { JobData } from "../queues/job.ts";
import { queuePrefix } from "../queues/queues.ts";
import type { Logger } from "../src/log.ts";
import type { StageSettings, Step } from "../src/order/stage.ts";
import { describe } from "../src/shutdown.ts";
import { OrderNotFoundError, TooLateToRejectError, type Execution, type Executor } from "./executor.ts";

/**
 * A worker that dies leaves its jobs locked for so long; whoever checks for stalled jobs next, within the interval,
 * puts them back. The check is shared by all workers of a queue, so these are constants and no settings. A job may
 * stall this often before it is given up: a deploy that kills workers is no reason to fail an order.
 */
const LOCK_DURATION_MS = 15_000;
const STALLED_INTERVAL_MS = 10_000;
const MAX_STALLED_COUNT = 5;

/** How long a job waits that found MySQL away; the worker that hands it back takes none until MySQL answers. */
const DATABASE_AWAY_DELAY_MS = 1_000;

/** The reasons for which an attempt is ended from outside without being a failed attempt. */
const SHUTDOWN = "the worker is shutting down";
const LOCK_LOST = "the job's lock was lost";

export interface StageWorkerOptions {
  readonly step: Step;
  readonly settings: StageSettings;
  readonly connection: Redis;
  readonly executor: Executor;
  readonly log: Logger;
  /** Says that MySQL does not answer. */
  readonly reportDatabaseAway: () => void;
  /** Writes down that the order rests in the step's failed set. */
  readonly markFailed: (failure: { orderId: string; step: Step; reason: string }) => Promise<void>;
}

/** Takes the jobs of one step and has the executor do them: what BullMQ must know of how they ended is said here. */
export class StageWorker {
  readonly #options: StageWorkerOptions;
  readonly #worker: Worker<JobData>;
  #held = 0;
  #progressAt = performance.now();

  constructor(options: StageWorkerOptions) {
    const { step, settings, connection, log } = options;
    this.#options = options;
    this.#worker = new Worker<JobData>(
      step.name,
      // BullMQ gives the signal to processors that declare three parameters.
      (job, token, signal) => this.#noteProgress(() => this.#process(job, token, signal)),
      {
        connection,
        prefix: queuePrefix(step),
        concurrency: settings.concurrency,
        lockDuration: LOCK_DURATION_MS,
        stalledInterval: STALLED_INTERVAL_MS,
        maxStalledCount: MAX_STALLED_COUNT,
        autorun: false,
        // Not skipVersionCheck: without the version BullMQ waits for delayed jobs in whole seconds.
        ...(settings.rateLimit ? { limiter: settings.rateLimit } : {}),
      },
    );
    this.#worker.on("error", (error) =>
      log.error({ stage: step.name, error: describe(error) }, "worker error"),
    );
    this.#worker.on("lockRenewalFailed", (jobIds) => {
      for (const jobId of jobIds) this.#worker.cancelJob(jobId, LOCK_LOST);
    });
    this.#worker.on("failed", (job) => {
      // Given up by BullMQ without having been run, after too many stalls.
      if (job?.deferredFailure) void this.#giveUp(job, job.deferredFailure);
    });
  }

  get name(): string {
    return this.#worker.name;
  }

  get settings(): StageSettings {
    return this.#options.settings;
  }

  /** Whether it takes no jobs on purpose. */
  get isPaused(): boolean {
    return this.#worker.isPaused();
  }

  /** Jobs that it works on. */
  get held(): number {
    return this.#held;
  }

  /** When a job last began or ended, or when there was none yet, since when it is there: as `performance.now()` has it. */
  get progressAt(): number {
    return this.#progressAt;
  }

  /** Starts to take jobs; resolves when it can. */
  async start(): Promise<void> {
    await this.#worker.waitUntilReady();
    void this.#worker.run();
  }

  /** Takes no more jobs for now; those that run go on. */
  async pause(): Promise<void> {
    await this.#worker.pause(true);
  }

  /** Takes jobs again. */
  async resume(): Promise<void> {
    await this.#worker.resume();
  }

  /**
   * Takes no more jobs and waits for those that run; after `graceMs` these are handed back to the queue, with all
   * their attempts left.
   */
  async stop(graceMs: number): Promise<void> {
    const handBack = setTimeout(() => this.#worker.cancelAllJobs(SHUTDOWN), graceMs);
    await this.#worker.close();
    clearTimeout(handBack);
  }

  async #noteProgress(work: () => Promise<void>): Promise<void> {
    this.#held++;
    this.#progressAt = performance.now();
    try {
      await work();
    } finally {
      this.#held--;
      this.#progressAt = performance.now();
    }
  }

  async #process(
    job: Job<JobData>,
    token: string | undefined,
    cancelled: AbortSignal | undefined,
  ): Promise<void> {
    const { executor, step, settings } = this.#options;
    const startedAt = performance.now();
    const timeout = AbortSignal.timeout(settings.timeout);
    try {
      const { orderId } = job.data;
      if (typeof orderId !== "string") throw new OrderNotFoundError("the job carries no order id");
      const signal = cancelled ? AbortSignal.any([cancelled, timeout]) : timeout;
      const execution = await executor.execute(orderId, step, signal);
      this.#logOutcome(job, execution, startedAt);
      if (execution.outcome === "snoozed") {
        await job.moveToDelayed(Date.now() + execution.milliseconds, token);
        throw new DelayedError();
      }
    } catch (error) {
      if (error instanceof DelayedError) throw error;
      if (cancelled?.reason === SHUTDOWN) {
        await job.moveToWait(token);
        throw new WaitingError();
      }
      // Somebody else has the job now; what becomes of it is theirs to say.
      if (cancelled?.reason === LOCK_LOST) throw new Error(LOCK_LOST, { cause: error });
      if (error instanceof DatabaseError && error.isUnavailable) {
        this.#options.reportDatabaseAway();
        await job.moveToDelayed(Date.now() + DATABASE_AWAY_DELAY_MS, token);
        throw new DelayedError();
      }
      const timedOut = timeout.aborted && error === timeout.reason;
      throw await this.#failed(
        job,
        timedOut ? new Error(`took longer than ${settings.timeout} ms`) : error,
        startedAt,
      );
    }
  }

  /** Logs a failed attempt, and marks the order when it was the last one. @returns the error as BullMQ should have it. */
  async #failed(job: Job<JobData>, error: unknown, startedAt: number): Promise<Error> {
    const attempts = job.opts.attempts ?? 1;
    const hopeless = error instanceof OrderNotFoundError || error instanceof TooLateToRejectError;
    const failure = error instanceof Error ? error : new Error(String(error));
    const last = hopeless || job.attemptsMade + 1 >= attempts;
    this.#options.log[last ? "error" : "warn"](
      { ...this.#fields(job, startedAt), attempts, error: describe(failure) },
      last ? "failed" : "will be retried",
    );
    if (last) await this.#giveUp(job, failure.message);
    return hopeless ? new UnrecoverableError(failure.message) : failure;
  }

  async #giveUp(job: Job<JobData>, reason: string): Promise<void> {
    const { markFailed, step, log } = this.#options;
    const { orderId } = job.data;
    try {
      await markFailed({ orderId, step, reason });
    } catch (error) {
      log.error({ stage: step.name, orderId, error: describe(error) }, "could not mark the order as failed");
    }
  }

  #logOutcome(job: Job<JobData>, execution: Execution, startedAt: number): void {
    this.#options.log.info({ ...this.#fields(job, startedAt), ...execution }, execution.outcome);
  }

  #fields(job: Job<JobData>, startedAt: number) {
    return {
      orderId: job.data.orderId,
      stage: this.#options.step.name,
      attempt: job.attemptsMade + 1,
      ms: Math.round(performance.now() - startedAt),
    };
  }
}
