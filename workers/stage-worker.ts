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
import type { Connection } from "../queues/connection.ts";
import { isRedisUnavailable } from "../queues/errors.ts";
import { isSuspect, type JobData } from "../queues/job.ts";
import { queuePrefix } from "../queues/keys.ts";
import type { SuspectTurns } from "../queues/suspect-turns.ts";
import type { Transition } from "../src/order/lifecycle.ts";
import type { StageSettings, Step } from "../src/order/stage.ts";
import { describeError } from "../src/platform/describe-error.ts";
import type { Execution, Executor } from "../src/engine/executor.ts";
import type { Gate } from "../src/engine/breaker.ts";
import type { FailureLog } from "../src/engine/failure-log.ts";
import type { Failure } from "../src/engine/failure.ts";
import { DispatcherUnavailableError, type DueJob } from "../src/engine/ports.ts";
import { shareOf, SuspectPlaces } from "../src/engine/suspects.ts";
import {
  Attempts,
  AWAY_DELAY_MS,
  SHUTDOWN,
  LOCK_LOST,
  type Attempt,
  type AttemptsOptions,
  type Ending,
  markOf,
} from "../src/engine/attempts.ts";
import { Places } from "./places.ts";
import { nowMs } from "../src/platform/clock.ts";

/**
 * A dead worker's jobs stay locked for the lock duration; the next check for stalled jobs puts them back. All workers
 * of a queue share that check, so these are constants, not settings. A job may stall this often before it fails: a
 * deploy that kills workers is no reason to fail an order.
 */
const LOCK_DURATION_MS = 15_000;
const STALLED_INTERVAL_MS = 10_000;
const MAX_STALLED_COUNT = 5;

/** BullMQ waits this long after a Redis error before it fetches again. */
const RUN_RETRY_DELAY_MS = 1_000;
/** A worker at its rate limit looks again after at most this long: operators may have raised the limit. */
const LONGEST_RATE_LIMIT_WAIT_MS = 2_000;

/** Why a step takes no jobs while a service is away. */
const CIRCUIT = "circuit";

/** An order's way through further steps of this process. */
export interface Visit {
  /** Resolves with the transitions made, when the order has been enqueued or has ended. */
  readonly ended: Promise<readonly Transition[]>;
}

/** Hands orders on from one step to the next. */
export interface HandOver {
  /**
   * Hands an order on to the transition it waits for: in this process at once, or through its queue.
   *
   * @param interrupted aborts what starts at once.
   * @returns undefined if the order was enqueued.
   * @throws {Error} from Redis.
   */
  handOver(
    orderId: string,
    transition: Transition,
    interrupted: AbortSignal | undefined,
  ): Promise<Visit | undefined>;
  /** Enqueues the job of what the order waits for. @throws {Error} from Redis. */
  readonly enqueue: (job: DueJob) => Promise<void>;
  /**
   * Waits until a job may enter its step.
   *
   * @returns whether its order may go on in place: in a step with a global concurrency, a job must end with the step, or it
   * would count against the limit for longer. @throws {Error} from Redis; the signal's reason.
   */
  admit(step: Step, interrupted: AbortSignal | undefined): Promise<{ readonly mayGoOn: boolean }>;
}

export interface StageWorkerOptions extends AttemptsOptions {
  readonly connection: Connection;
  readonly handOver: HandOver;
  /** BullMQ's own. */
  readonly telemetry?: Telemetry | undefined;
  /** Assigns turns to suspects. */
  readonly turns: Pick<SuspectTurns, "take">;
  readonly failures: Pick<FailureLog, "markFailed" | "noteFailedAttempt">;
  readonly stillFails: Executor["stillFails"];
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

/**
 * The worker of one step. It runs the jobs of the step's queue, and guests: orders that come straight from the step
 * before, in this process. It translates how attempts end for BullMQ.
 */
export class StageWorker {
  /** Places reserved for orders that may be impossible to serve. */
  readonly suspects: SuspectPlaces;
  readonly #options: StageWorkerOptions;
  readonly #worker: Worker<JobData>;
  readonly #attempts: Attempts;
  readonly #places: Places;
  readonly #holds = new Set<string>();
  #switching: Promise<void> = Promise.resolve();
  #stopping = false;
  #handsBack = false;

  constructor(options: StageWorkerOptions) {
    const { step, outages, log } = options;
    this.#options = options;
    this.#worker = new Worker<JobData>(
      step.name,
      // BullMQ passes the signal only to processors with three parameters.
      (job, token, signal) => this.#process(job, token, signal),
      {
        ...workerOptions(options),
        autorun: false,
        ...(options.telemetry ? { telemetry: options.telemetry } : {}),
      },
    );
    this.#places = new Places(this.#worker);
    this.suspects = new SuspectPlaces(() => this.#places.concurrency);
    this.#attempts = new Attempts(options, this.suspects);
    this.#worker.on("error", (error) => {
      if (isRedisUnavailable(error)) outages.redisAway();
      log.error({ stage: step.name, error: describeError(error) }, "worker error");
    });
    this.#worker.on("lockRenewalFailed", (jobIds) => {
      for (const jobId of jobIds) this.#worker.cancelJob(jobId, LOCK_LOST);
    });
    this.#worker.on("failed", (job) => {
      // BullMQ failed it without running it, after too many stalls.
      if (job?.deferredFailure) void this.#giveUp(attemptOf(job), job.deferredFailure);
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

  /** Orders that may be in the step at once; 0 while paused. */
  get concurrency(): number {
    return this.isPaused ? 0 : this.#places.concurrency;
  }

  /** Orders in the step. */
  get held(): number {
    return this.#places.taken;
  }

  /** When an attempt last started or ended, initially the creation time (`performance.now()`). */
  get progressAt(): number {
    return this.#places.progressAt;
  }

  /** What the stage's circuit breakers control. */
  get gate(): Gate {
    return {
      shut: () => void this.hold(CIRCUIT),
      halfOpen: () => {
        this.setConcurrency(shareOf(this.settings.concurrency));
        void this.release(CIRCUIT);
      },
      open: () => {
        this.setConcurrency();
        void this.release(CIRCUIT);
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
    this.#places.concurrency = concurrency;
  }

  /** Whether a guest would start at once. */
  get hasPlace(): boolean {
    return (
      this.#places.hasPlaceForGuest &&
      // A guest that needs no service that is away goes on; any other is turned away when it calls it.
      [...this.#holds].every((reason) => reason === CIRCUIT) &&
      !this.#stopping &&
      this.#options.settings.rateLimit === undefined
    );
  }

  /**
   * Runs the first attempt of a guest. If it fails or has to wait, the order goes into the step's queue.
   *
   * @param interrupted aborts the attempt.
   * @throws {Error} from Redis; the signal's reason if the order's job was lost.
   */
  async host(orderId: string, transition: Transition, interrupted: AbortSignal | undefined): Promise<Hosted> {
    return this.#places.run(async () => {
      const attempt = {
        orderId,
        number: 1,
        startedAt: new Date(nowMs()),
        isLast: this.#options.settings.attempts === 1,
        isSuspect: false,
        hasCrashed: false,
        putOffs: 0,
        waits: 0,
      };
      this.#options.observer?.began(0);
      const startedAt = performance.now();
      const ending = await this.#attempts.make(attempt, interrupted);
      return this.#settleGuest({ orderId, transition }, attempt, ending, startedAt);
    });
  }

  /** Counts a guest from before it may come until it has left. @returns what to call when it has, or does not come. */
  expectGuest(): () => void {
    return this.#places.expectGuest();
  }

  /** Orders that came from another step, or may be about to. */
  get guests(): number {
    return this.#places.guests;
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

  async #process(
    job: Job<JobData>,
    token: string | undefined,
    cancelled: AbortSignal | undefined,
  ): Promise<string | undefined> {
    // A fetch that was under way at shutdown may return a job just handed back.
    if (this.#handsBack) return this.#handBack(job, token);
    return this.#places.withJob(async () => {
      try {
        const passage = await this.#places.run(() => this.#attempt(job, token, cancelled));
        const passed = await passage?.visit?.ended;
        return (
          passage &&
          [passage.made, ...(passed ?? [])].map(({ step, to }) => `${step.name} -> ${to}`).join(", ")
        );
      } catch (error) {
        if (!(error instanceof DispatcherUnavailableError)) throw error;
        // The order could not be enqueued. The next pick-up of this job finds what it waits for.
        return this.#delay(job, token, cancelled, { waitMs: AWAY_DELAY_MS });
      }
    });
  }

  async #attempt(
    job: Job<JobData>,
    token: string | undefined,
    cancelled: AbortSignal | undefined,
  ): Promise<Passage | undefined> {
    const { observer } = this.#options;
    const startedAt = performance.now();
    const { orderId, failed } = job.data;
    if (typeof orderId !== "string") throw new UnrecoverableError("the job carries no order id");
    const attempt = attemptOf(job);
    if (failed !== undefined && attempt.number === 1) {
      await this.#note(job, { orderId, ...crashed(job) });
      if (await this.#stillFails(job, token, cancelled, attempt))
        throw await this.#errorOf(job, attempt, failed);
    }
    const { mayGoOn } = await this.#admit(cancelled);
    if (job.attemptsStarted === 1) observer?.began(waitedSeconds(job));
    const ending = await this.#attempts.make(attempt, cancelled);
    switch (ending.kind) {
      case "over":
        return this.#goOn(attempt, ending.execution, mayGoOn, cancelled);
      case "put off":
        if (ending.known) await this.#note(job, { orderId, ...crashed(job), ...ending.known });
        return this.#delay(job, token, cancelled, ending);
      case "failed":
        await this.#record(attempt, ending.failure, startedAt);
        throw await this.#errorOf(job, attempt, ending.failure, ending.error);
      case "interrupted":
        if (ending.reason === SHUTDOWN) return this.#handBack(job, token);
        // Another worker has the job now, and decides what happens to it.
        throw new Error(LOCK_LOST, { cause: ending.error });
    }
  }

  async #admit(cancelled: AbortSignal | undefined): Promise<{ readonly mayGoOn: boolean }> {
    try {
      return await this.#options.handOver.admit(this.step, cancelled);
    } catch {
      // Interrupted, as the attempt will find, or Redis is away, and nobody knows the limits.
      return { mayGoOn: false };
    }
  }

  /** Hands on an order that is done with the step. */
  async #goOn(
    { orderId, hasCrashed }: Attempt,
    execution: Execution,
    mayGoOn: boolean,
    cancelled: AbortSignal | undefined,
  ): Promise<Passage | undefined> {
    const { handOver, step } = this.#options;
    if (execution.outcome === "not due" && execution.next) {
      // If a process died over it, then in the step that is due now.
      await handOver.enqueue({ orderId, transition: execution.next, hasCrashed });
    }
    if (execution.outcome !== "done") return undefined;
    const made = { step, to: execution.status };
    if (execution.next === undefined) return { made, visit: undefined };
    if (hasCrashed || !mayGoOn) {
      await handOver.enqueue({ orderId, transition: execution.next });
      return { made, visit: undefined };
    }
    return { made, visit: await handOver.handOver(orderId, execution.next, cancelled) };
  }

  /** @throws {Error} from Redis. */
  async #settleGuest(
    due: Pick<DueJob, "orderId" | "transition">,
    attempt: Attempt,
    ending: Ending,
    startedAt: number,
  ): Promise<Hosted> {
    const { orderId } = due;
    const { enqueue } = this.#options.handOver;
    switch (ending.kind) {
      case "over": {
        const { execution } = ending;
        if (execution.outcome === "done") return { isDone: true, next: execution.next };
        if (execution.outcome === "not due" && execution.next)
          await enqueue({ orderId, transition: execution.next });
        break;
      }
      case "put off": {
        const suspicion = ending.known && "suspect" in ending.known ? ending.known : undefined;
        await enqueue({ ...due, ...suspicion, delayMs: ending.waitMs });
        break;
      }
      case "failed": {
        const { kind, message } = ending.failure;
        await this.#record(attempt, ending.failure, startedAt);
        await enqueue({ ...due, failed: { kind: kind === "permanent" ? kind : "failed", message } });
        break;
      }
      case "interrupted":
        if (ending.reason !== SHUTDOWN) throw new Error(LOCK_LOST, { cause: ending.error });
        await enqueue(due);
    }
    return { isDone: false };
  }

  /** Whether the attempt that failed in place still counts: the order may have been cancelled or resumed since. */
  async #stillFails(
    job: Job<JobData>,
    token: string | undefined,
    cancelled: AbortSignal | undefined,
    attempt: Attempt,
  ): Promise<boolean> {
    const isLast = attempt.isLast || job.data.failed?.kind === "permanent";
    try {
      return await this.#options.stillFails(attempt.orderId, this.step, isLast);
    } catch {
      // MySQL is away.
      return this.#delay(job, token, cancelled, { waitMs: AWAY_DELAY_MS });
    }
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
    { waitMs, needsTurn = false }: { readonly waitMs: number; readonly needsTurn?: boolean },
  ): Promise<never> {
    for (;;) {
      try {
        const turnMs = needsTurn ? await this.#takeTurn() : 0;
        // By this process's own clock, as BullMQ takes it for the delay; see Queues.bringForward.
        await job.moveToDelayed(Date.now() + Math.max(waitMs, turnMs), token);
        throw new DelayedError();
      } catch (error) {
        if (!isRedisUnavailable(error)) throw error;
        this.#places.noteProgress();
        await sleep(AWAY_DELAY_MS, undefined, { signal: cancelled });
      }
    }
  }

  /** Logs a failed attempt, and marks the order as failed after the last one. */
  async #record(
    attempt: Attempt,
    { kind, message }: Pick<Failure, "kind" | "message">,
    startedAt: number,
  ): Promise<void> {
    const { settings, log } = this.#options;
    const last = kind === "permanent" || attempt.isLast;
    log[last ? "error" : "warn"](
      { ...this.#attempts.fields(attempt, startedAt), attempts: settings.attempts, error: message },
      last ? "failed" : "will be retried",
    );
    await (last ? this.#giveUp(attempt, message) : this.#noteFailure(attempt, message));
  }

  /** The error by which BullMQ counts a failed attempt. */
  async #errorOf(
    job: Job<JobData>,
    attempt: Attempt,
    { kind, message }: Pick<Failure, "kind" | "message">,
    error?: unknown,
  ): Promise<Error> {
    if (kind === "permanent") return new UnrecoverableError(message);
    const reason = error instanceof Error && error.message === message ? error : new Error(message);
    if (!attempt.isLast) await this.#delayRetry(job, reason);
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
      const fields = { stage: this.name, orderId: job.data.orderId, error: describeError(error) };
      this.#options.log.debug(fields, "could not take a turn for the retry");
    }
  }

  /** @returns milliseconds until the suspect's turn. @throws {Error} from Redis. */
  async #takeTurn(): Promise<number> {
    const [turnMs = 0] = await this.#options.turns.take();
    return turnMs;
  }

  async #giveUp(attempt: Attempt, reason: string): Promise<void> {
    const { failures, step, log } = this.#options;
    try {
      await failures.markFailed({ orderId: attempt.orderId, step, reason, ...markOf(attempt) });
    } catch (error) {
      log.error(
        { stage: step.name, orderId: attempt.orderId, error: describeError(error) },
        "could not mark the order as failed",
      );
    }
  }

  /** Only for the timeline, so errors are just logged. */
  async #noteFailure(attempt: Attempt, reason: string): Promise<void> {
    const { failures, step, log } = this.#options;
    try {
      await failures.noteFailedAttempt({ orderId: attempt.orderId, step, reason, ...markOf(attempt) });
    } catch (error) {
      log.warn(
        { stage: step.name, orderId: attempt.orderId, error: describeError(error) },
        "could not record the failed attempt",
      );
    }
  }
}

/** How a guest's attempt ended: an order that is not done was enqueued, or has ended. */
export type Hosted =
  | { readonly isDone: true; /** What is due next. */ readonly next: Transition | undefined }
  | { readonly isDone: false };

/** An order has made a transition, and may be in further steps of this process. */
interface Passage {
  readonly made: Pick<Transition, "step" | "to">;
  readonly visit: Visit | undefined;
}

/** What stays known of a job's order whatever else is. */
function crashed({ data }: Job<JobData>): Pick<JobData, "hasCrashed"> {
  return data.hasCrashed ? { hasCrashed: true } : {};
}

/** Clamped, because Redis's clock and this machine's may differ. */
function waitedSeconds({ timestamp, processedOn = timestamp }: Job): number {
  return Math.max(0, processedOn - timestamp) / 1_000;
}

function attemptOf(job: Job<JobData>): Attempt {
  const { attemptsMade, attemptsStarted, stalledCounter, opts, data } = job;
  return {
    orderId: data.orderId,
    number: attemptsMade + 1,
    startedAt: new Date(nowMs()),
    isLast: attemptsMade + 1 >= (opts.attempts ?? 1),
    isSuspect: isSuspect(job),
    // Its worker died while running it, perhaps because of it.
    hasCrashed: stalledCounter > 0 || data.hasCrashed === true,
    putOffs: data.putOffs ?? 0,
    waits: Math.max(0, attemptsStarted - attemptsMade - 1),
  };
}
