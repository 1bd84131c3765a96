import { setTimeout as sleep } from "node:timers/promises";
import {
  Backoffs,
  DelayedError,
  UnrecoverableError,
  WaitingError,
  Worker,
  type Job,
  type Telemetry,
  type WorkerOptions,
} from "bullmq";
import type { Redis } from "ioredis";
import { isRedisUnavailable } from "../queues/errors.ts";
import { isSuspect, type JobData } from "../queues/job.ts";
import { queuePrefix } from "../queues/keys.ts";
import type { SuspectTurns } from "../queues/suspect-turns.ts";
import type { Logger } from "../src/platform/log.ts";
import type { AttemptMark } from "../src/order/event.ts";
import { CANCELLED } from "../src/order/lifecycle.ts";
import type { StageSettings, Step } from "../src/order/stage.ts";
import { describeError } from "../src/platform/describe-error.ts";
import type { FailedCall, Gate, Verdict } from "../src/engine/breaker.ts";
import { OrderNotFoundError, type Execution, type Executor } from "../src/engine/executor.ts";
import type { FailureLog } from "../src/engine/failure-log.ts";
import { failureOf, type Failure } from "../src/engine/failure.ts";
import type { Isolation } from "./isolation/isolation.ts";
import type { AttemptObserver, AttemptOutcome } from "../src/engine/metrics.ts";
import { NoPlaceError } from "../src/engine/outage.ts";
import { shareOf, SuspectPlaces } from "../src/engine/suspects.ts";
import { withinTime } from "../src/platform/time-limit.ts";

/**
 * A dead worker's jobs stay locked for the lock duration; the next check for stalled jobs puts them back. All workers
 * of a queue share that check, so these are constants, not settings. A job may stall this often before it fails: a
 * deploy that kills workers is no reason to fail an order.
 */
const LOCK_DURATION_MS = 15_000;
const STALLED_INTERVAL_MS = 10_000;
const MAX_STALLED_COUNT = 5;

/** Delay of a job that found MySQL or Redis away. */
const AWAY_DELAY_MS = 1_000;
/**
 * Delay of a job whose rows were locked: the first, and the maximum. It grows each time, so that many jobs that want
 * one locked row leave room for others.
 */
const FIRST_BUSY_DELAY_MS = 250;
const LONGEST_BUSY_DELAY_MS = 4_000;
/** BullMQ waits this long after a Redis error before it fetches again. */
const RUN_RETRY_DELAY_MS = 1_000;
/** A worker at its rate limit looks again after at most this long: operators may have raised the limit. */
const LONGEST_RATE_LIMIT_WAIT_MS = 2_000;

/** Reasons to abort an attempt that do not count as a failure. */
const SHUTDOWN = "the worker is shutting down";
const LOCK_LOST = "the job's lock was lost";

/** Outages that use up no attempt. */
export interface Outages {
  /** MySQL is away. @param how "MySQL takes no writes". @param error the error text. */
  databaseAway(how: string, error: string): void;
  /** Redis is unreachable, or takes no writes. */
  redisAway(): void;
  /** Decides whether the service or the order is to blame. */
  judge(stage: string, call: FailedCall): Promise<Verdict>;
  /** Delay of an order whose stage is held. Milliseconds. */
  readonly probeIntervalMs: number;
}

export interface StageWorkerOptions {
  readonly step: Step;
  readonly settings: StageSettings;
  readonly connection: Redis;
  readonly executor: Pick<Executor, "execute">;
  /** Runs jobs whose worker died. */
  readonly isolation: Pick<Isolation, "attempt">;
  readonly outages: Outages;
  /** Assigns turns to suspects. */
  readonly turns: Pick<SuspectTurns, "take">;
  readonly observer?: AttemptObserver | undefined;
  /** BullMQ's own. */
  readonly telemetry?: Telemetry | undefined;
  readonly log: Logger;
  readonly failures: Pick<FailureLog, "markFailed" | "noteFailedAttempt">;
}

/** BullMQ's settings for a step. */
export function workerOptions({
  step,
  settings,
  connection,
}: Pick<StageWorkerOptions, "step" | "settings" | "connection">): WorkerOptions {
  return {
    connection,
    prefix: queuePrefix(connection, step),
    concurrency: settings.concurrency,
    lockDuration: LOCK_DURATION_MS,
    stalledInterval: STALLED_INTERVAL_MS,
    maxStalledCount: MAX_STALLED_COUNT,
    runRetryDelay: RUN_RETRY_DELAY_MS,
    maximumRateLimitDelay: LONGEST_RATE_LIMIT_WAIT_MS,
    // Not skipVersionCheck: without the version BullMQ waits for delayed jobs in whole seconds.
    ...(settings.rateLimit ? { limiter: settings.rateLimit } : {}),
  };
}

/** Runs the jobs of one step through the executor, and translates the outcome for BullMQ. */
export class StageWorker {
  /** Places reserved for orders that may be impossible to serve. */
  readonly suspects: SuspectPlaces;
  readonly #options: StageWorkerOptions;
  readonly #worker: Worker<JobData>;
  readonly #holds = new Set<string>();
  #switching: Promise<void> = Promise.resolve();
  #stopping = false;
  #handsBack = false;
  #held = 0;
  #progressAt = performance.now();

  constructor(options: StageWorkerOptions) {
    const { step, outages, log } = options;
    this.#options = options;
    this.#worker = new Worker<JobData>(
      step.name,
      // BullMQ passes the signal only to processors with three parameters.
      (job, token, signal) => this.#noteProgress(() => this.#process(job, token, signal)),
      {
        ...workerOptions(options),
        autorun: false,
        ...(options.telemetry ? { telemetry: options.telemetry } : {}),
      },
    );
    this.suspects = new SuspectPlaces(() => this.#worker.concurrency);
    this.#worker.on("error", (error) => {
      if (isRedisUnavailable(error)) outages.redisAway();
      log.error({ stage: step.name, error: describeError(error) }, "worker error");
    });
    this.#worker.on("lockRenewalFailed", (jobIds) => {
      for (const jobId of jobIds) this.#worker.cancelJob(jobId, LOCK_LOST);
    });
    this.#worker.on("failed", (job) => {
      // BullMQ failed it without running it, after too many stalls.
      if (job?.deferredFailure) void this.#giveUp(job, job.deferredFailure);
    });
  }

  get name(): string {
    return this.#worker.name;
  }

  get step(): Step {
    return this.#options.step;
  }

  get settings(): StageSettings {
    return this.#options.settings;
  }

  /** Whether it is paused deliberately. */
  get isPaused(): boolean {
    return this.#worker.isPaused();
  }

  /** Jobs it may run at once; 0 while paused. */
  get concurrency(): number {
    return this.isPaused ? 0 : this.#worker.concurrency;
  }

  /** Jobs it is running. */
  get held(): number {
    return this.#held;
  }

  /** When a job last started or ended, initially the creation time (`performance.now()`). */
  get progressAt(): number {
    return this.#progressAt;
  }

  /** What the stage's circuit breaker controls. */
  get gate(): Gate {
    return {
      shut: () => void this.hold("circuit"),
      halfOpen: () => {
        this.setConcurrency(shareOf(this.settings.concurrency));
        void this.release("circuit");
      },
      open: () => {
        this.setConcurrency();
        void this.release("circuit");
      },
    };
  }

  /** Starts taking jobs; resolves when connected. */
  async start(): Promise<void> {
    await this.#worker.waitUntilReady();
    void this.#worker.run();
  }

  /** Stops taking jobs until released for the same reason. Running jobs continue. */
  async hold(reason: string): Promise<void> {
    this.#holds.add(reason);
    await this.#switch();
  }

  /** Takes jobs again, unless held for another reason. */
  async release(reason: string): Promise<void> {
    this.#holds.delete(reason);
    await this.#switch();
  }

  /** Sets the concurrency. Defaults to the step's setting. */
  setConcurrency(concurrency = this.#options.settings.concurrency): void {
    this.#worker.concurrency = concurrency;
  }

  /**
   * Stops taking jobs and waits for the running ones. After `graceMs` it hands these back to the queue, with all
   * attempts left.
   */
  async stop(graceMs: number): Promise<void> {
    this.#stopping = true;
    const handBack = setTimeout(() => {
      this.#handsBack = true;
      this.#worker.cancelAllJobs(SHUTDOWN);
    }, graceMs);
    await this.#worker.close();
    clearTimeout(handBack);
  }

  /** Serialized, because BullMQ's pause and resume must not overlap. */
  #switch(): Promise<void> {
    this.#switching = this.#switching.then(() => this.#switchNow());
    return this.#switching;
  }

  async #switchNow(): Promise<void> {
    const isHeld = this.#holds.size > 0;
    if (isHeld === this.#worker.isPaused() || this.#stopping) return;
    try {
      await (isHeld ? this.#worker.pause(true) : this.#worker.resume());
    } catch (error) {
      this.#options.log.error(
        { stage: this.name, error: describeError(error) },
        "could not pause or resume the worker",
      );
    }
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
    // A fetch that was under way at shutdown may return a job just handed back.
    if (this.#handsBack) return this.#handBack(job, token);
    try {
      await this.#processNow(job, token, cancelled);
    } finally {
      this.suspects.leave(job.data.orderId);
    }
  }

  async #processNow(
    job: Job<JobData>,
    token: string | undefined,
    cancelled: AbortSignal | undefined,
  ): Promise<void> {
    const { observer } = this.#options;
    const startedAt = performance.now();
    let hasEnded = false;
    const ended = (outcome: AttemptOutcome) => {
      if (!hasEnded) observer?.ended(outcome, (performance.now() - startedAt) / 1_000);
      hasEnded = true;
    };
    if (job.attemptsStarted === 1) observer?.began(waitedSeconds(job));
    try {
      const execution = await this.#attempt(job, cancelled);
      ended(execution.outcome);
      if (execution.outcome === "cancelled") observer?.reached(job.data.orderId, CANCELLED);
      if (execution.outcome === "done") observer?.reached(job.data.orderId, execution.status);
      this.#options.log.info({ ...this.#fields(job, startedAt), ...execution }, execution.outcome);
      if (execution.outcome === "snoozed") {
        await this.#clear(job);
        await this.#delay(job, token, cancelled, { milliseconds: execution.milliseconds });
      }
    } catch (error) {
      if (error instanceof DelayedError) throw error;
      if (cancelled?.reason === SHUTDOWN) {
        ended("handed back");
        return this.#handBack(job, token);
      }
      // Another worker has the job now, and decides what happens to it.
      if (cancelled?.reason === LOCK_LOST) {
        ended("handed back");
        throw new Error(LOCK_LOST, { cause: error });
      }
      const failure = failureOf(error, { timeoutMs: this.#options.settings.timeout });
      const waitMs = await this.#delayFor(failure, job, startedAt);
      if (waitMs === undefined) {
        const isLast = failure.kind === "permanent" || isLastAttempt(job);
        ended(isLast ? "failed" : "retried");
        if (!isLast) observer?.retried(failure.kind);
        throw await this.#failed(job, failure, error, startedAt);
      }
      ended("put off");
      observer?.retried(failure.kind);
      this.#options.log.debug({ ...this.#fields(job, startedAt), error: failure.message }, failure.kind);
      const needsTurn = failure.kind === "no place" || isSuspect(job);
      await this.#delay(job, token, cancelled, { milliseconds: waitMs, needsTurn });
    }
  }

  async #attempt(job: Job<JobData>, cancelled: AbortSignal | undefined): Promise<Execution> {
    const { executor, isolation, step, settings } = this.#options;
    const { orderId } = job.data;
    if (typeof orderId !== "string") throw new OrderNotFoundError("the job carries no order id");
    if (isSuspect(job) && !this.suspects.take(orderId)) throw new NoPlaceError();
    // Its worker died while running it, perhaps because of it.
    if (job.stalledCounter > 0) {
      const { attempt, startedAt } = markOf(job);
      return isolation.attempt(
        { orderId, step: step.name, timeoutMs: settings.timeout, attempt, startedAt: startedAt.getTime() },
        cancelled,
      );
    }
    return withinTime(settings.timeout, cancelled, (signal) =>
      executor.execute(orderId, step, signal, markOf(job)),
    );
  }

  /** The delay in milliseconds if no attempt is used up; undefined if the attempt failed. */
  async #delayFor(failure: Failure, job: Job<JobData>, startedAt: number): Promise<number | undefined> {
    const { outages } = this.#options;
    switch (failure.kind) {
      case "database away":
        outages.databaseAway(failure.how, failure.message);
        return AWAY_DELAY_MS;
      case "database busy":
        return busyDelayMs(job);
      case "redis away":
        outages.redisAway();
        return AWAY_DELAY_MS;
      case "no place":
        return this.suspects.nextTurn();
      case "service away":
        return failure.tried ? this.#judge(failure, job, startedAt) : outages.probeIntervalMs;
      case "failed":
      case "permanent":
        return undefined;
    }
  }

  async #judge(
    { stage, service, customerId, timedOut }: Failure & { kind: "service away" },
    job: Job<JobData>,
    startedAt: number,
  ): Promise<number | undefined> {
    const { orderId, putOffs = 0 } = job.data;
    const verdict = await this.#options.outages.judge(stage, {
      orderId,
      customerId,
      service,
      timedOut,
      startedAt,
      isSuspect: isSuspect(job),
      delays: putOffs,
    });
    if (verdict.cause === "order") return undefined;
    if (verdict.cause === "failing") await this.#note(job, { orderId, suspect: true, putOffs: putOffs + 1 });
    return verdict.waitMs;
  }

  /** Earlier failures no longer count: the service has just served the order. */
  async #clear(job: Job<JobData>): Promise<void> {
    const { orderId } = job.data;
    if (isSuspect(job)) await this.#note(job, { orderId, goodAtAttempt: job.attemptsMade });
  }

  /** Affects only when the job runs, so errors are just logged. */
  async #note(job: Job<JobData>, data: JobData): Promise<void> {
    try {
      await job.updateData(data);
    } catch (error) {
      const { step, log } = this.#options;
      const fields = { stage: step.name, orderId: data.orderId, error: describeError(error) };
      log.debug(fields, "could not record whether the order is a suspect");
    }
  }

  /** Returns the job to the queue without using up an attempt. @throws {WaitingError} */
  async #handBack(job: Job<JobData>, token: string | undefined): Promise<never> {
    await job.moveToWait(token);
    throw new WaitingError();
  }

  /**
   * Delays the job, a suspect at least until its turn. Keeps trying while Redis is away.
   *
   * @throws {DelayedError}
   */
  async #delay(
    job: Job<JobData>,
    token: string | undefined,
    cancelled: AbortSignal | undefined,
    { milliseconds, needsTurn = false }: { readonly milliseconds: number; readonly needsTurn?: boolean },
  ): Promise<never> {
    for (;;) {
      try {
        const turnMs = needsTurn ? await this.#takeTurn() : 0;
        await job.moveToDelayed(Date.now() + Math.max(milliseconds, turnMs), token);
        throw new DelayedError();
      } catch (error) {
        if (!isRedisUnavailable(error)) throw error;
        this.#progressAt = performance.now();
        await sleep(AWAY_DELAY_MS, undefined, { signal: cancelled });
      }
    }
  }

  /** Logs a failed attempt, and marks the order as failed after the last one. @returns the error for BullMQ. */
  async #failed(
    job: Job<JobData>,
    { kind, message }: Failure,
    error: unknown,
    startedAt: number,
  ): Promise<Error> {
    const last = kind === "permanent" || isLastAttempt(job);
    this.#options.log[last ? "error" : "warn"](
      { ...this.#fields(job, startedAt), attempts: job.opts.attempts, error: message },
      last ? "failed" : "will be retried",
    );
    await (last ? this.#giveUp(job, message) : this.#noteFailure(job, message));
    if (kind === "permanent") return new UnrecoverableError(message);
    const reason = error instanceof Error && error.message === message ? error : new Error(message);
    if (!last) await this.#delayRetry(job, reason);
    return reason;
  }

  /** Delays the retry, by now a suspect, until its turn; at its backoff alone it would take others' places. */
  async #delayRetry(job: Job<JobData>, reason: Error): Promise<void> {
    try {
      const turnMs = await this.#takeTurn();
      if (turnMs === 0) return;
      const backoff = Backoffs.normalize(job.opts.backoff ?? 0);
      const backoffMs = backoff && (await Backoffs.calculate(backoff, job.attemptsMade + 1, reason, job));
      // Only in memory: BullMQ reads the backoff from this object.
      job.opts.backoff = { type: "fixed", delay: Math.max(backoffMs ?? 0, turnMs) };
    } catch (error) {
      const fields = { ...this.#fields(job, performance.now()), error: describeError(error) };
      this.#options.log.debug(fields, "could not take a turn for the retry");
    }
  }

  /** @returns milliseconds until the suspect's turn. @throws {Error} from Redis. */
  async #takeTurn(): Promise<number> {
    const [turnMs = 0] = await this.#options.turns.take();
    return turnMs;
  }

  async #giveUp(job: Job<JobData>, reason: string): Promise<void> {
    const { failures, step, log } = this.#options;
    const { orderId } = job.data;
    try {
      await failures.markFailed({ orderId, step, reason, ...markOf(job) });
    } catch (error) {
      log.error(
        { stage: step.name, orderId, error: describeError(error) },
        "could not mark the order as failed",
      );
    }
  }

  /** Only for the timeline, so errors are just logged. */
  async #noteFailure(job: Job<JobData>, reason: string): Promise<void> {
    const { failures, step, log } = this.#options;
    const { orderId } = job.data;
    try {
      await failures.noteFailedAttempt({ orderId, step, reason, ...markOf(job) });
    } catch (error) {
      log.warn(
        { stage: step.name, orderId, error: describeError(error) },
        "could not record the failed attempt",
      );
    }
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

/** Clamped, because Redis's clock and this machine's may differ. */
function waitedSeconds({ timestamp, processedOn = timestamp }: Job): number {
  return Math.max(0, processedOn - timestamp) / 1_000;
}

function markOf(job: Job): AttemptMark {
  return { attempt: job.attemptsMade + 1, startedAt: new Date(job.processedOn ?? Date.now()) };
}

function busyDelayMs({ attemptsStarted, attemptsMade }: Job): number {
  const before = Math.max(0, attemptsStarted - attemptsMade - 1);
  return Math.min(FIRST_BUSY_DELAY_MS * 2 ** before, LONGEST_BUSY_DELAY_MS);
}

function isLastAttempt(job: Job): boolean {
  return job.attemptsMade + 1 >= (job.opts.attempts ?? 1);
}
