import pLimit from "p-limit";
import type { Logger } from "../../platform/log.ts";
import { CANCEL, type Lifecycle, type Transition } from "../../order/lifecycle.ts";
import type { StoredOrder } from "../../order/order.ts";
import type { AttemptMark } from "../../order/event.ts";
import type { Ports } from "../../order/ports.ts";
import { settingsOf, type StageSettings, type Step } from "../../order/stage.ts";
import { describeError } from "../../platform/describe-error.ts";
import type { Tracing } from "../../platform/tracing/contract.ts";
import { Attempts, markOf, SHUTDOWN, type Attempt, type Ending as AttemptEnding } from "../attempts.ts";
import { Executor, type ExecutorStore } from "../executor.ts";
import type { FailureLog } from "../failure-log.ts";
import type { AttemptObserver } from "../metrics.ts";
import { shareOf } from "../suspects.ts";
import { isDatabaseUnavailable } from "../../platform/storage-error.ts";
import type { Dispatcher, DueJob, Replacement } from "../ports.ts";
import { OneOrder } from "./one-order.ts";
import { timestamp } from "../../platform/clock.ts";

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
  /** Whether this process may take a step now; always, unless given. What it leaves is found by the sweeper later. */
  readonly mayTake?: ((step: Pick<Step, "name">) => Promise<boolean>) | undefined;
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
  readonly #interruptions = new Set<AbortController>();
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
    const orderIds = replacements.flatMap(({ by }) => by?.orderId ?? []);
    await this.#resume(orderIds.filter((orderId) => !this.#resting.get(orderId)?.isUndoing));
  }

  /** Starts no more background work, and leaves what is still running after `graceMs` where it is. */
  endWithin(graceMs: number): void {
    this.#stopping = true;
    for (const { timer } of this.#resting.values()) clearTimeout(timer);
    this.#resting.clear();
    setTimeout(() => {
      this.#leaving = true;
      for (const each of this.#interruptions) each.abort(SHUTDOWN);
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
      .catch((error: unknown) => {
        if (!isDatabaseUnavailable(error)) throw error;
        return this.#retryAfterOutage(orderId, error.message, past);
      })
      .finally(() => this.#underWay.delete(orderId));
    this.#underWay.set(orderId, run);
    return run;
  }

  /** MySQL is away or busy, which is not the order's fault. */
  #retryAfterOutage(orderId: string, error: string | undefined, { failures, outages }: Past): Ending {
    const { probeIntervalMs, log } = this.#options;
    log.warn({ orderId, error }, "could not process the order: retrying later");
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
    const { lifecycle, ports, mayTake, tracing } = this.#options;
    const own = new Executor({ lifecycle, ports, store: order, mayTake });
    const executor = tracing?.attempts(own) ?? own;
    let ending = PROCESSED;
    let next = await this.#next(order);
    while (next && !this.#leaving) {
      const transition: Transition = next;
      if ((await mayTake?.(transition.step)) === false) return ACCEPTED;
      const attempt = this.#attemptAt(orderId, transition, past);
      const made = await this.#make(executor, transition, attempt);
      if (made.kind === "over") {
        next = "next" in made.execution ? made.execution.next : undefined;
        continue;
      }
      if (made.kind === "interrupted") continue;
      if (made.kind === "put off") {
        if (made.cause === "snoozed") {
          this.#rest(orderId, made.waitMs, { ...NEVER_FAILED, isUndoing: false });
          return ending;
        }
        if (made.cause === "not now") {
          const { failures, outages } = past;
          this.#rest(orderId, made.waitMs, { failures, outages, isUndoing: transition.step === CANCEL });
          return ending;
        }
        // MySQL can't say now whether the order has changed.
        if (made.cause !== "service away") return this.#retryAfterOutage(orderId, made.message, past);
      }
      order.forget();
      next = await this.#next(order);
      // Someone else changed or cancelled the order, which may be why the attempt failed.
      if (!isSame(next, transition)) continue;
      if (made.kind === "put off" || !this.#canGiveUp(transition)) {
        await this.#retryLater(transition.step, attempt, made, past);
        return ending;
      }
      const reason = `${transition.step.name} failed: ${made.failure.message}`;
      if (await this.#giveUp(orderId, transition, reason, markOf(attempt)))
        ending = { outcome: "failed", reason };
      order.forget();
      next = await this.#next(order);
    }
    return next && ending === PROCESSED ? ACCEPTED : ending;
  }

  async #next(order: OneOrder): Promise<Transition | undefined> {
    const standing = await order.look();
    if (standing === undefined) return undefined;
    const { status, cancellation } = standing;
    return this.#options.lifecycle.next({ status, cancelled: cancellation !== null });
  }

  #attemptAt(orderId: string, transition: Transition, { failures, outages }: Past): Attempt {
    const number = failures + 1;
    return {
      orderId,
      number,
      startedAt: timestamp(),
      isLast: this.#canGiveUp(transition) || number >= this.#settingsOf(transition.step).attempts,
      isSuspect: false,
      hasCrashed: false,
      putOffs: outages,
      waits: 0,
    };
  }

  async #make(
    executor: Pick<Executor, "execute">,
    transition: Transition,
    attempt: Attempt,
  ): Promise<AttemptEnding> {
    const { probeIntervalMs, observerOf, log } = this.#options;
    const { step } = transition;
    const attempts = new Attempts({
      step,
      settings: this.#settingsOf(step),
      executor,
      outages: {
        databaseAway: () => undefined,
        redisAway: () => undefined,
        // Somebody waits, so the first failure cancels the order, whoever is to blame.
        judge: async () =>
          this.#canGiveUp(transition) ? { cause: "order" } : { cause: "away", waitMs: probeIntervalMs },
        probeIntervalMs,
      },
      observer: observerOf?.(step),
      log,
    });
    const interruption = new AbortController();
    this.#interruptions.add(interruption);
    try {
      return await attempts.make(attempt, interruption.signal);
    } finally {
      this.#interruptions.delete(interruption);
    }
  }

  /** Whether a failure of this transition cancels the order. */
  #canGiveUp({ step, from }: Transition): boolean {
    return step !== CANCEL && this.#options.lifecycle.canCancel(from);
  }

  /** @returns whether the cancellation was requested; false if the order has changed. */
  #giveUp(orderId: string, { step, from }: Transition, reason: string, mark: AttemptMark): Promise<boolean> {
    const { store, log } = this.#options;
    log.warn({ orderId, stage: step.name, error: reason }, "failed: cancelling the order");
    const request = { ...mark, orderId, whileIn: [from], stage: step.name, reason, at: timestamp() };
    return store.requestCancellation(request);
  }

  /** Retries later what cannot be cancelled, or marks the order as failed. */
  async #retryLater(
    step: Step,
    attempt: Attempt,
    made: AttemptEnding & { kind: "put off" | "failed" },
    { failures: failed, outages }: Past,
  ): Promise<void> {
    const { probeIntervalMs, failures, log } = this.#options;
    const { orderId, isLast } = attempt;
    const isUndoing = step === CANCEL;
    if (made.kind === "put off") {
      log.warn({ orderId, stage: step.name, error: made.message }, "will be tried again");
      const waitMs = Math.max(probeIntervalMs, Math.min(LONGEST_WAIT_MS, probeIntervalMs * 2 ** outages));
      this.#rest(orderId, waitMs, { failures: failed, outages: outages + 1, isUndoing });
      return;
    }
    const { kind, message } = made.failure;
    const fields = { orderId, stage: step.name, error: message };
    const failure = { orderId, step, reason: message, ...markOf(attempt) };
    if (kind === "permanent" || isLast) {
      log.error(fields, "failed");
      await failures.markFailed(failure);
      return;
    }
    log.warn(fields, "will be tried again");
    // Only for the timeline: processing does not depend on it.
    await failures
      .noteFailedAttempt(failure)
      .catch((error: unknown) =>
        log.warn({ ...fields, error: describeError(error) }, "could not record the failed attempt"),
      );
    const { backoff } = this.#settingsOf(step);
    this.#rest(orderId, 2 ** failed * backoff.delay, { failures: failed + 1, outages, isUndoing });
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

function isSame(one: Transition | undefined, other: Transition): boolean {
  return one?.step === other.step && one.from === other.from;
}
