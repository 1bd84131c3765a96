import pLimit from "p-limit";
import type { Logger } from "../../platform/log.ts";
import { CANCEL, CANCELLED, type Lifecycle, type Transition } from "../../order/lifecycle.ts";
import type { StoredOrder } from "../../order/order.ts";
import type { AttemptMark } from "../../order/event.ts";
import type { Ports } from "../../order/ports.ts";
import { settingsOf, type StageSettings, type Step } from "../../order/stage.ts";
import { describeError } from "../../platform/describe-error.ts";
import type { Tracing } from "../../platform/tracing/contract.ts";
import { Executor, type Execution, type ExecutorStore } from "../executor.ts";
import type { FailureLog } from "../failure-log.ts";
import { failureOf, type Failure } from "../failure.ts";
import type { AttemptObserver, AttemptOutcome } from "../metrics.ts";
import { shareOf } from "../suspects.ts";
import { isDatabaseUnavailable } from "../../platform/storage-error.ts";
import { withinTime } from "../../platform/time-limit.ts";
import type { Dispatcher, DueJob, Replacement } from "../ports.ts";
import { OneOrder } from "./one-order.ts";

/** Orders processed in the background at once; few, so that they leave room for requests. */
const BACKGROUND_CONCURRENCY = 10;
/** The longest wait for an unavailable service: the order may be to blame after all. */
const LONGEST_WAIT_MS = 60_000;
/** The longest delay of a Node timer. */
const MAX_TIMER_MS = 2 ** 31 - 1;

/** The result of processing an order. */
export type Processed = Ending & { readonly order: StoredOrder };

type Ending =
  /** The order has ended, or waits for a stage that will run by itself. */
  | { readonly outcome: "processed" }
  /** The process is shutting down, or MySQL is away: the order will be continued later. */
  | { readonly outcome: "accepted" }
  /** A stage failed: the order is cancelled, or will be once everything is undone. */
  | { readonly outcome: "failed"; readonly reason: string };

const PROCESSED: Ending = { outcome: "processed" };
const ACCEPTED: Ending = { outcome: "accepted" };

/** An order that waits for its next attempt. */
interface Rest {
  readonly timer: NodeJS.Timeout;
  /** Failed attempts in a row. */
  readonly failures: number;
  /** Outages met in a row. */
  readonly outages: number;
  /** Whether it is being cancelled. */
  readonly isUndoing: boolean;
}

type Past = Pick<Rest, "failures" | "outages">;

const NEVER_FAILED: Past = { failures: 0, outages: 0 };

export interface InlineProcessingOptions {
  readonly lifecycle: Lifecycle;
  readonly ports: Ports;
  readonly store: ExecutorStore;
  readonly failures: Pick<FailureLog, "markFailed" | "noteFailedAttempt">;
  /** Settings that override every step's own. */
  readonly overrides?: Partial<StageSettings>;
  /** The first wait after an outage; doubles each time, up to a minute. Milliseconds. */
  readonly probeIntervalMs: number;
  /** Observes the attempts of a step. */
  readonly observerOf?: ((step: Step) => AttemptObserver | undefined) | undefined;
  readonly tracing?: Pick<Tracing, "attempts" | "resume"> | undefined;
  readonly log: Logger;
}

/**
 * Processes orders without queues: through all stages in a row, while the client waits. Stages, executor and stored
 * data are the same as with queues. The difference is a failed stage: it gets one attempt, since somebody waits; then
 * the order is cancelled and its stages undone.
 *
 * Work that nobody waits for is retried later: undoing that failed, and stages past the point of no return. Its state
 * is in MySQL; only the time of the next retry is in memory, and if the process dies the sweeper finds the order.
 *
 * Each order has one run at a time in a process, and callers share it. Runs in several processes do no harm, because
 * executions are idempotent.
 */
export class InlineProcessing implements Dispatcher {
  readonly #options: InlineProcessingOptions;
  readonly #underWay = new Map<string, Promise<Ending>>();
  readonly #resting = new Map<string, Rest>();
  readonly #attempts = new Set<AbortController>();
  readonly #background = pLimit(BACKGROUND_CONCURRENCY);
  /** The same for orders that have failed before: each may take long, repeatedly. */
  readonly #suspects = pLimit(shareOf(BACKGROUND_CONCURRENCY));
  #stopping = false;
  #leaving = false;

  constructor(options: InlineProcessingOptions) {
    this.#options = options;
  }

  /**
   * Processes an order as far as possible.
   *
   * @param created the order, if it was just created. Then it counts as accepted even if MySQL goes away at once.
   * @throws {StorageError} if MySQL is away and the order is not known.
   */
  async process(orderId: string, created?: StoredOrder): Promise<Processed> {
    const ending = await this.#runShared(orderId, created);
    try {
      const order = await this.#options.store.load(orderId);
      if (order === undefined) throw new Error(`order ${orderId} was deleted`);
      return { ...ending, order };
    } catch (error) {
      if (created === undefined || !isDatabaseUnavailable(error)) throw error;
      return { ...(ending.outcome === "failed" ? ending : ACCEPTED), order: created };
    }
  }

  /** Does nothing: whoever creates an order calls {@link process}. */
  async enqueue(): Promise<void> {}

  /**
   * Processes orders that have stopped; resolves when all are as far as possible.
   *
   * @returns how many had stopped, not counting those under way or waiting for a retry.
   */
  async revive(due: readonly DueJob[]): Promise<number> {
    const stopped = due.filter(({ orderId }) => !this.#underWay.has(orderId) && !this.#resting.has(orderId));
    await this.#resume(stopped.map(({ orderId }) => orderId));
    return stopped.length;
  }

  /** Carries out cancellations. A run under way notices its own; an undo that failed waits for its retry. */
  async replace(replacements: readonly Replacement[]): Promise<void> {
    const orderIds = replacements.map(({ by }) => by.orderId);
    await this.#resume(orderIds.filter((orderId) => !this.#resting.get(orderId)?.isUndoing));
  }

  /** Starts no more background work, and leaves what is still running after `graceMs` where it is. */
  endWithin(graceMs: number): void {
    this.#stopping = true;
    for (const { timer } of this.#resting.values()) clearTimeout(timer);
    this.#resting.clear();
    setTimeout(() => {
      this.#leaving = true;
      for (const attempt of this.#attempts) attempt.abort(new Error("the process is shutting down"));
    }, graceMs).unref();
  }

  /** Resolves when no order is being processed. */
  async idle(): Promise<void> {
    while (this.#underWay.size > 0) await Promise.allSettled(this.#underWay.values());
  }

  #runShared(orderId: string, created?: StoredOrder): Promise<Ending> {
    const underWay = this.#underWay.get(orderId);
    if (underWay) return underWay;
    const rest = this.#resting.get(orderId);
    clearTimeout(rest?.timer);
    this.#resting.delete(orderId);
    const order = new OneOrder(this.#options.store, orderId, created);
    const past = rest ?? NEVER_FAILED;
    const run = this.#run(orderId, order, past)
      .catch((error: unknown) => this.#retryAfterOutage(orderId, error, past))
      .finally(() => this.#underWay.delete(orderId));
    this.#underWay.set(orderId, run);
    return run;
  }

  /** Retries later if MySQL is away or busy, which is not the order's fault. @throws any other error. */
  #retryAfterOutage(orderId: string, error: unknown, { failures, outages }: Past): Ending {
    if (!isDatabaseUnavailable(error)) throw error;
    const { probeIntervalMs, log } = this.#options;
    log.warn({ orderId, error: error.message }, "could not process the order: retrying later");
    this.#rest(orderId, probeIntervalMs, { failures, outages, isUndoing: false });
    return ACCEPTED;
  }

  #resume(orderIds: readonly string[]): Promise<void> {
    const { tracing } = this.#options;
    return this.#runInBackground(orderIds, (orderId, run) => tracing?.resume(orderId, run) ?? run());
  }

  /** Processes orders in the background. Errors are only logged: the sweeper will find the orders. */
  async #runInBackground(
    orderIds: readonly string[],
    within = (_orderId: string, run: () => Promise<Ending>) => run(),
  ): Promise<void> {
    const run = async (orderId: string): Promise<void> => {
      if (this.#stopping) return;
      try {
        await within(orderId, () => this.#runShared(orderId));
      } catch (error) {
        this.#options.log.warn(
          { orderId, error: describeError(error) },
          "could not process the order: retrying later",
        );
      }
    };
    await Promise.all(orderIds.map((orderId) => this.#background(() => run(orderId))));
  }

  async #run(orderId: string, order: OneOrder, past: Past): Promise<Ending> {
    const { lifecycle, ports, tracing } = this.#options;
    const { failures } = past;
    const own = new Executor({ lifecycle, ports, store: order });
    const executor = tracing?.attempts(own) ?? own;
    let ending = PROCESSED;
    let next = await this.#next(order);
    while (next) {
      if (this.#leaving) return ending === PROCESSED ? ACCEPTED : ending;
      const transition: Transition = next;
      const mark = { attempt: failures + 1, startedAt: new Date() };
      try {
        const execution = await this.#attempt(executor, orderId, transition, mark);
        if (execution.outcome === "snoozed") {
          this.#rest(orderId, execution.milliseconds, { ...NEVER_FAILED, isUndoing: false });
          return ending;
        }
        next = "next" in execution ? execution.next : undefined;
      } catch (error) {
        if (this.#leaving) continue;
        const failure = failureOf(error, { timeoutMs: this.#settingsOf(transition.step).timeout });
        // An outage of MySQL is no reason to cancel, and the status cannot be read or written now.
        if (isDatabaseFailure(failure)) throw error;
        order.forget();
        next = await this.#next(order);
        // Someone else changed or cancelled the order, which may be why the attempt failed.
        if (!isSame(next, transition)) continue;
        if (!this.#canGiveUp(transition)) {
          await this.#retryLater(orderId, transition.step, failure, past, mark);
          return ending;
        }
        const reason = `${transition.step.name} failed: ${failure.message}`;
        if (await this.#giveUp(orderId, transition, reason, mark)) ending = { outcome: "failed", reason };
        order.forget();
        next = await this.#next(order);
      }
    }
    return ending;
  }

  async #next(order: OneOrder): Promise<Transition | undefined> {
    const standing = await order.look();
    if (standing === undefined) return undefined;
    const { status, cancellation } = standing;
    return this.#options.lifecycle.next({ status, cancelled: cancellation !== null });
  }

  async #attempt(
    executor: Pick<Executor, "execute">,
    orderId: string,
    transition: Transition,
    mark: AttemptMark,
  ): Promise<Execution> {
    const { step } = transition;
    const observer = this.#options.observerOf?.(step);
    const startedAt = performance.now();
    const attempt = new AbortController();
    this.#attempts.add(attempt);
    try {
      const execution = await withinTime(this.#settingsOf(step).timeout, attempt.signal, (signal) =>
        executor.execute(orderId, step, signal, mark),
      );
      observer?.ended(execution.outcome, secondsSince(startedAt));
      if (execution.outcome === "cancelled") observer?.reached(orderId, CANCELLED);
      if (execution.outcome === "done") observer?.reached(orderId, execution.status);
      const ms = Math.round(performance.now() - startedAt);
      this.#options.log.info({ orderId, stage: step.name, ms, ...execution }, execution.outcome);
      return execution;
    } catch (error) {
      const failure = failureOf(error, { timeoutMs: this.#settingsOf(step).timeout });
      const outcome = this.#outcomeOf(failure, transition, mark);
      observer?.ended(outcome, secondsSince(startedAt));
      if (outcome === "retried" || outcome === "put off") observer?.retried(failure.kind);
      throw error;
    } finally {
      this.#attempts.delete(attempt);
    }
  }

  /** The outcome of a failed attempt, for metrics. {@link #run} and {@link #retryLater} act on it. */
  #outcomeOf(failure: Failure, transition: Transition, { attempt }: AttemptMark): AttemptOutcome {
    const { kind } = failure;
    if (this.#leaving) return "handed back";
    if (isDatabaseFailure(failure)) return "put off";
    if (this.#canGiveUp(transition)) return "failed";
    if (kind === "service away") return "put off";
    return kind === "permanent" || attempt >= this.#settingsOf(transition.step).attempts
      ? "failed"
      : "retried";
  }

  /** Whether a failure of this transition cancels the order. */
  #canGiveUp({ step, from }: Transition): boolean {
    return step !== CANCEL && this.#options.lifecycle.canCancel(from);
  }

  /** @returns whether the cancellation was requested; false if the order has changed. */
  #giveUp(orderId: string, { step, from }: Transition, reason: string, mark: AttemptMark): Promise<boolean> {
    const { store, log } = this.#options;
    log.warn({ orderId, stage: step.name, error: reason }, "failed: cancelling the order");
    const request = { ...mark, orderId, whileIn: [from], stage: step.name, reason, at: new Date() };
    return store.requestCancellation(request);
  }

  /** Retries later what cannot be cancelled, or marks the order as failed. */
  async #retryLater(
    orderId: string,
    step: Step,
    failure: Failure,
    { failures: failed, outages }: Past,
    mark: AttemptMark,
  ): Promise<void> {
    const { probeIntervalMs, failures, log } = this.#options;
    const { attempts, backoff } = this.#settingsOf(step);
    const fields = { orderId, stage: step.name, error: failure.message };
    const isUndoing = step === CANCEL;
    if (failure.kind === "service away") {
      log.warn(fields, "will be tried again");
      const waitMs = Math.max(probeIntervalMs, Math.min(LONGEST_WAIT_MS, probeIntervalMs * 2 ** outages));
      this.#rest(orderId, waitMs, { failures: failed, outages: outages + 1, isUndoing });
    } else if (failure.kind === "permanent" || failed + 1 >= attempts) {
      log.error(fields, "failed");
      await failures.markFailed({ orderId, step, reason: failure.message, ...mark });
    } else {
      log.warn(fields, "will be tried again");
      // Only for the timeline: processing does not depend on it.
      await failures
        .noteFailedAttempt({ orderId, step, reason: failure.message, ...mark })
        .catch((error: unknown) =>
          log.warn({ ...fields, error: describeError(error) }, "could not record the failed attempt"),
        );
      this.#rest(orderId, 2 ** failed * backoff.delay, { failures: failed + 1, outages, isUndoing });
    }
  }

  #rest(orderId: string, milliseconds: number, rest: Omit<Rest, "timer">): void {
    if (this.#stopping) return;
    const isSuspect = rest.failures + rest.outages > 0;
    const run = () => this.#runInBackground([orderId]);
    const timer = setTimeout(
      () => void (isSuspect ? this.#suspects(run) : run()),
      Math.min(milliseconds, MAX_TIMER_MS),
    );
    this.#resting.set(orderId, { timer, ...rest });
  }

  #settingsOf(step: Step): StageSettings {
    return settingsOf(step, this.#options.overrides);
  }
}

/** @param startedAt from `performance.now()`. */
function secondsSince(startedAt: number): number {
  return (performance.now() - startedAt) / 1_000;
}

function isDatabaseFailure({ kind }: Failure): boolean {
  return kind === "database away" || kind === "database busy";
}

function isSame(one: Transition | undefined, other: Transition): boolean {
  return one?.step === other.step && one.from === other.from;
}
