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

/** Orders carried on at once with nobody waiting: what was left must not crowd out what is asked for now. */
const BEHIND_AT_ONCE = 10;
/** The longest that an order waits whose service does not do its part: it may be the order, and not the service. */
const LONGEST_WAIT_MS = 60_000;
/** The longest that a timer of Node's can wait. */
const LONGEST_REST_MS = 2 ** 31 - 1;

/** How an order came out of being carried on. */
export type Processed = Ending & { readonly order: StoredOrder };

type Ending =
  /** It has ended, or a stage waits for something, and the order goes on by itself. */
  | { readonly outcome: "processed" }
  /** The process shuts down, or MySQL is away. The order stands where it stood, and goes on later. */
  | { readonly outcome: "accepted" }
  /** A stage failed: the order is cancelled, or will be when everything can be undone. */
  | { readonly outcome: "failed"; readonly reason: string };

const PROCESSED: Ending = { outcome: "processed" };
const ACCEPTED: Ending = { outcome: "accepted" };

/** An order that waits for its next attempt. */
interface Rest {
  readonly timer: NodeJS.Timeout;
  /** Attempts in a row that failed. */
  readonly failures: number;
  /** Times in a row that a service did not do its part. */
  readonly putOffs: number;
  /** Whether it waits to be undone. */
  readonly isUndoing: boolean;
}

type Past = Pick<Rest, "failures" | "putOffs">;

const NEVER_FAILED: Past = { failures: 0, putOffs: 0 };

export interface InlineProcessingOptions {
  readonly lifecycle: Lifecycle;
  readonly ports: Ports;
  readonly store: ExecutorStore;
  readonly failures: Pick<FailureLog, "markFailed" | "noteFailedAttempt">;
  /** An operator's settings over those of every step. */
  readonly overrides?: Partial<StageSettings>;
  /** Milliseconds after which an order is tried again that found a service away: twice as many each time, up to a minute. */
  readonly probeIntervalMs: number;
  /** For the attempts at a step. */
  readonly observerOf?: ((step: Step) => AttemptObserver | undefined) | undefined;
  readonly tracing?: Pick<Tracing, "attempts" | "resume"> | undefined;
  readonly log: Logger;
}

/**
 * Carries orders on without queues: through all stages in one go while the client waits, as a shop does that has no
 * queue. The stages, the executor and what is written down are the same as with queues; what differs is what becomes of an
 * order whose stage fails. There is one attempt, since somebody waits; then the order is cancelled, and undone.
 *
 * What nobody waits for is tried again later: undoing that failed, and stages after the point of no return. It stands in
 * MySQL, like everything; only when to try again is known here alone, and found out anew by the sweeper when this process
 * has died.
 *
 * An order is carried on by one run at a time in this process; whoever wants the same meanwhile shares it. Runs in several
 * processes do no harm, as executions do none.
 */
export class InlineProcessing implements Dispatcher {
  readonly #options: InlineProcessingOptions;
  readonly #underWay = new Map<string, Promise<Ending>>();
  readonly #resting = new Map<string, Rest>();
  readonly #attempts = new Set<AbortController>();
  readonly #behind = pLimit(BEHIND_AT_ONCE);
  /** Those of them that have failed before: they may take long, and again and again. */
  readonly #suspects = pLimit(shareOf(BEHIND_AT_ONCE));
  #stopping = false;
  #leaving = false;

  constructor(options: InlineProcessingOptions) {
    this.#options = options;
  }

  /**
   * Carries an order on as far as it goes.
   *
   * @param created the order, if it was just written down: then it counts as accepted even when MySQL is away before it
   * has got any further. @throws {StorageError} when MySQL is away, and nobody knows the order.
   */
  async process(orderId: string, created?: StoredOrder): Promise<Processed> {
    const ending = await this.#carry(orderId, created);
    try {
      const order = await this.#options.store.load(orderId);
      if (order === undefined) throw new Error(`order ${orderId} was deleted`);
      return { ...ending, order };
    } catch (error) {
      if (created === undefined || !isDatabaseUnavailable(error)) throw error;
      return { ...(ending.outcome === "failed" ? ending : ACCEPTED), order: created };
    }
  }

  /** Does nothing: whoever writes an order down has it carried on by {@link process}, and waits. */
  async enqueue(): Promise<void> {}

  /**
   * Carries on orders that have stopped. Resolves when all of them have got as far as they
   * go. @returns how many there were: those that are under way, or wait for their time, are none.
   */
  async revive(due: readonly DueJob[]): Promise<number> {
    const stopped = due.filter(({ orderId }) => !this.#underWay.has(orderId) && !this.#resting.has(orderId));
    await this.#resume(stopped.map(({ orderId }) => orderId));
    return stopped.length;
  }

  /**
   * Undoes orders that are to be cancelled. A run that is under way for an order finds that by itself; one whose undoing
   * has failed waits for its time.
   */
  async replace(replacements: readonly Replacement[]): Promise<void> {
    const orderIds = replacements.map(({ by }) => by.orderId);
    await this.#resume(orderIds.filter((orderId) => !this.#resting.get(orderId)?.isUndoing));
  }

  /** Begins nothing by itself any more. What is under way after so many milliseconds is left where it stands. */
  endWithin(graceMs: number): void {
    this.#stopping = true;
    for (const { timer } of this.#resting.values()) clearTimeout(timer);
    this.#resting.clear();
    setTimeout(() => {
      this.#leaving = true;
      for (const attempt of this.#attempts) attempt.abort(new Error("the process is shutting down"));
    }, graceMs).unref();
  }

  /** Resolves when nothing is under way. */
  async idle(): Promise<void> {
    while (this.#underWay.size > 0) await Promise.allSettled(this.#underWay.values());
  }

  #carry(orderId: string, created?: StoredOrder): Promise<Ending> {
    const underWay = this.#underWay.get(orderId);
    if (underWay) return underWay;
    const rest = this.#resting.get(orderId);
    clearTimeout(rest?.timer);
    this.#resting.delete(orderId);
    const order = new OneOrder(this.#options.store, orderId, created);
    const past = rest ?? NEVER_FAILED;
    const run = this.#run(orderId, order, past)
      .catch((error: unknown) => this.#leaveForLater(orderId, error, past))
      .finally(() => this.#underWay.delete(orderId));
    this.#underWay.set(orderId, run);
    return run;
  }

  /** A MySQL that is away, or busy with others, is nobody's fault. @throws any other error. */
  #leaveForLater(orderId: string, error: unknown, { failures, putOffs }: Past): Ending {
    if (!isDatabaseUnavailable(error)) throw error;
    const { probeIntervalMs, log } = this.#options;
    log.warn({ orderId, error: error.message }, "could not process the order yet");
    this.#rest(orderId, probeIntervalMs, { failures, putOffs, isUndoing: false });
    return ACCEPTED;
  }

  /** Behind the back of whoever asks for it. */
  #resume(orderIds: readonly string[]): Promise<void> {
    const { tracing } = this.#options;
    return this.#carryBehind(orderIds, (orderId, carry) => tracing?.resume(orderId, carry) ?? carry());
  }

  /** With nobody waiting. Whatever goes wrong is logged: the sweeper comes by again. */
  async #carryBehind(
    orderIds: readonly string[],
    within = (_orderId: string, carry: () => Promise<Ending>) => carry(),
  ): Promise<void> {
    const carry = async (orderId: string): Promise<void> => {
      if (this.#stopping) return;
      try {
        await within(orderId, () => this.#carry(orderId));
      } catch (error) {
        this.#options.log.warn({ orderId, error: describeError(error) }, "could not process the order yet");
      }
    };
    await Promise.all(orderIds.map((orderId) => this.#behind(() => carry(orderId))));
  }

  async #run(orderId: string, order: OneOrder, past: Past): Promise<Ending> {
    const { lifecycle, ports, tracing } = this.#options;
    const { failures } = past;
    const own = new Executor({ lifecycle, ports, store: order, enqueue: (job) => order.enqueue(job) });
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
        next = order.takeNext();
      } catch (error) {
        if (this.#leaving) continue;
        const failure = failureOf(error, { timeoutMs: this.#settingsOf(transition.step).timeout });
        // Nothing that the order could be cancelled for; and where it stands can't be asked, or not be written.
        if (isDatabaseFailure(failure)) throw error;
        order.forget();
        next = await this.#next(order);
        // Somebody else has moved it, or wants it cancelled, and may so have made the attempt fail.
        if (!isSame(next, transition)) continue;
        if (!this.#canGiveUp(transition)) {
          await this.#putOff(orderId, transition.step, failure, past, mark);
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

  /** How an attempt counts that threw: what follows from it is decided in {@link #run} and {@link #putOff}. */
  #outcomeOf(failure: Failure, transition: Transition, { attempt }: AttemptMark): AttemptOutcome {
    const { kind } = failure;
    if (this.#leaving) return "handed back";
    if (isDatabaseFailure(failure)) return "put off";
    if (this.#canGiveUp(transition)) return "failed";
    if (kind === "service away") return "put off";
    return kind === "hopeless" || attempt >= this.#settingsOf(transition.step).attempts
      ? "failed"
      : "retried";
  }

  /** Whether an order whose attempt has failed can be cancelled for that. */
  #canGiveUp({ step, from }: Transition): boolean {
    return step !== CANCEL && this.#options.lifecycle.canCancel(from);
  }

  /** @returns whether the order is to be cancelled now: not if somebody has moved it on. */
  #giveUp(orderId: string, { step, from }: Transition, reason: string, mark: AttemptMark): Promise<boolean> {
    const { store, log } = this.#options;
    log.warn({ orderId, stage: step.name, error: reason }, "failed: the order is cancelled");
    const request = { ...mark, orderId, whileIn: [from], stage: step.name, reason, at: new Date() };
    return store.requestCancellation(request);
  }

  /** Tries again later what can't be given up, or leaves it to a person. */
  async #putOff(
    orderId: string,
    step: Step,
    failure: Failure,
    { failures: failed, putOffs }: Past,
    mark: AttemptMark,
  ): Promise<void> {
    const { probeIntervalMs, failures, log } = this.#options;
    const { attempts, backoff } = this.#settingsOf(step);
    const fields = { orderId, stage: step.name, error: failure.message };
    const isUndoing = step === CANCEL;
    if (failure.kind === "service away") {
      log.warn(fields, "will be tried again");
      const waitMs = Math.max(probeIntervalMs, Math.min(LONGEST_WAIT_MS, probeIntervalMs * 2 ** putOffs));
      this.#rest(orderId, waitMs, { failures: failed, putOffs: putOffs + 1, isUndoing });
    } else if (failure.kind === "hopeless" || failed + 1 >= attempts) {
      log.error(fields, "failed");
      await failures.markFailed({ orderId, step, reason: failure.message, ...mark });
    } else {
      log.warn(fields, "will be tried again");
      // For the timeline only: the order goes on without it.
      await failures
        .noteFailedAttempt({ orderId, step, reason: failure.message, ...mark })
        .catch((error: unknown) =>
          log.warn({ ...fields, error: describeError(error) }, "could not record the failed attempt"),
        );
      this.#rest(orderId, 2 ** failed * backoff.delay, { failures: failed + 1, putOffs, isUndoing });
    }
  }

  #rest(orderId: string, milliseconds: number, rest: Omit<Rest, "timer">): void {
    if (this.#stopping) return;
    const isSuspect = rest.failures + rest.putOffs > 0;
    const carry = () => this.#carryBehind([orderId]);
    const timer = setTimeout(
      () => void (isSuspect ? this.#suspects(carry) : carry()),
      Math.min(milliseconds, LONGEST_REST_MS),
    );
    this.#resting.set(orderId, { timer, ...rest });
  }

  #settingsOf(step: Step): StageSettings {
    return settingsOf(step, this.#options.overrides);
  }
}

/** @param startedAt as `performance.now()` has it. */
function secondsSince(startedAt: number): number {
  return (performance.now() - startedAt) / 1_000;
}

function isDatabaseFailure({ kind }: Failure): boolean {
  return kind === "database away" || kind === "database busy";
}

function isSame(one: Transition | undefined, other: Transition): boolean {
  return one?.step === other.step && one.from === other.from;
}
