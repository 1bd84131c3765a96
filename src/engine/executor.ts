import { setTimeout as delay } from "node:timers/promises";
import type { AttemptMark } from "../order/event.ts";
import {
  CANCEL,
  CANCELLED,
  type Lifecycle,
  type StageTransition,
  type Transition,
} from "../order/lifecycle.ts";
import { cancelledPieces, type StoredOrder } from "../order/order.ts";
import { AlreadyUndoneError, NotNowError, UndecidedError, type Ports } from "../order/ports.ts";
import { Rejection, rejectSoldOut, Snooze, Wait, type Stage, type Step } from "../order/stage.ts";
import { timestamp } from "../platform/clock.ts";
import { offTheClock, untilAborted } from "../platform/time-limit.ts";
import type { CrashPoint } from "./crash-points.ts";
import { LEFT_MS } from "./failure.ts";
import type { CancellationRequest, OrderTransition, OrderWait, TransitionResult } from "./ports.ts";
import { redacted, withoutSecrets } from "./redact.ts";
import { StageRunner, type Attempt, type Breakers } from "./stage-runner.ts";
import { waitedIn, waitForRelease, waitForStock, waitOf } from "./waits.ts";

/** What the executor needs from the store, one order at a time. Calls may share a transaction with others. */
export interface ExecutorStore {
  load(orderId: string): Promise<StoredOrder | undefined>;
  /** The order as this process left it a moment ago, if no cancellation was requested. Saves a read. */
  recall?(orderId: string): StoredOrder | undefined;
  applyTransition(
    transition: OrderTransition,
  ): Promise<Pick<TransitionResult, "made" | "soldOut" | "isStale">>;
  requestCancellation(request: CancellationRequest): Promise<boolean>;
  /** @returns whether it waits now: it was not woken, moved or cancelled since its stage asked. */
  markWaiting(wait: OrderWait): Promise<boolean>;
  clearFailed(orderId: string): Promise<void>;
}

/** How one execution ended. */
export type Execution =
  /** The stage succeeded and the order has its new status; `next` is due. */
  | { readonly outcome: "done"; readonly status: string; readonly next?: Transition | undefined }
  /** The stage asked to run again later. */
  | { readonly outcome: "snoozed"; readonly milliseconds: number }
  /** Somebody else has to act. The order is found again without a job. */
  | { readonly outcome: "waiting"; readonly for: string }
  /** Every completed stage has been undone. */
  | { readonly outcome: "cancelled"; readonly reason: string }
  /** Nothing to do: the job was late, a duplicate, or queued before a deploy. The order may wait for `next`. */
  | { readonly outcome: "not due"; readonly status: string; readonly next?: Transition | undefined };

/**
 * Milliseconds for which an order that is not found is asked for again, and between two questions: it was accepted, but the
 * server that is asked may lag behind the one that has it, as after a failover.
 */
const BELIEVED_AFTER_MS = 5_000;
const ASK_AGAIN_MS = 200;

/** The job's order does not exist. Retrying cannot help. */
export class OrderNotFoundError extends Error {
  override name = "OrderNotFoundError";
}

/** A stage rejected an order past the point of no return. A person has to decide. */
export class TooLateToRejectError extends Error {
  override name = "TooLateToRejectError";
}

/**
 * Runs one step of an order. The order's status decides what is due, never the job, so a call may be late, repeated, or
 * concurrent with another process: work that is done is not done twice.
 */
export class Executor {
  readonly #lifecycle: Lifecycle;
  readonly #runner: StageRunner;
  readonly #store: ExecutorStore;
  readonly #mayTake: ((step: Pick<Step, "name">) => Promise<boolean>) | undefined;
  readonly #crashHook: ((point: CrashPoint, step: string) => void) | undefined;

  constructor(options: {
    readonly lifecycle: Lifecycle;
    readonly ports: Ports;
    readonly store: ExecutorStore;
    readonly breakers?: Breakers;
    /** Whether this process may take the step now; always, unless given. */
    readonly mayTake?: ((step: Pick<Step, "name">) => Promise<boolean>) | undefined;
    /** Called at each point where a test may kill the process. */
    readonly crashHook?: ((point: CrashPoint, step: string) => void) | undefined;
  }) {
    this.#lifecycle = options.lifecycle;
    this.#runner = new StageRunner(options);
    this.#store = options.store;
    this.#mayTake = options.mayTake;
    this.#crashHook = options.crashHook;
  }

  /**
   * Runs the step if it is due. The caller hands the order on to what is due `next`.
   *
   * @param signal aborts the attempt: it timed out, or the process is shutting down.
   * @param mark identifies the attempt in the event log.
   * @throws whatever the stage, a port or the store throws, for BullMQ to retry; {@link OrderNotFoundError} and
   * {@link TooLateToRejectError} when a retry cannot help.
   */
  async execute(orderId: string, step: Step, signal: AbortSignal, mark?: AttemptMark): Promise<Execution> {
    const known = this.#store.recall?.(orderId);
    // A job for a later step means another process has moved the order since: read it again.
    const order = known && this.#isFor(known, step) ? known : await this.#load(orderId, signal);
    const attempt = { step, signal, mark };
    try {
      return await this.#advance(order, attempt);
    } catch (error) {
      // A remembered order may have changed since, which may be why its stage failed.
      const current = order === known && !signal.aborted ? await this.#load(orderId, signal) : order;
      if (current !== order && (current.cancellation || !this.#isFor(current, step)))
        return this.#advance(current, attempt);
      throw withoutSecrets(error, order);
    }
  }

  /**
   * Whether an attempt at a step that has failed still counts: the step is due, and the order, if that was the last
   * attempt, is still marked as failed. @throws {StorageError}
   */
  async stillFails(orderId: string, step: Step, isLast: boolean): Promise<boolean> {
    const order = await this.#store.load(orderId);
    const isToBeCancelled = order !== undefined && order.cancellation !== null && step.name !== CANCEL.name;
    return (
      order !== undefined &&
      this.#isFor(order, step) &&
      !isToBeCancelled &&
      (!isLast || order.failed !== null)
    );
  }

  async #advance(order: StoredOrder, attempt: Attempt): Promise<Execution> {
    const { step } = attempt;
    const due = this.#lifecycle.due(order.status);
    if (!this.#isFor(order, step) || due === undefined) return this.#endedAt(order);
    const taken = order.cancellation ? CANCEL : due.step;
    const mayTake = this.#mayTake;
    if (mayTake && !(await offTheClock(attempt.signal, () => mayTake(taken))))
      throw new NotNowError(`${taken.name} is left to workers with the pipeline in force`, LEFT_MS);
    if (order.cancellation) return this.#cancel(order, order.cancellation.reason, attempt);

    const [hold] = order.holds;
    if (hold) return this.#wait(order, waitForRelease(hold), attempt);

    this.#crashHook?.("before run", step.name);
    const { outcome, ...alongside } = await this.#runner.run(order, due.step, attempt);
    this.#crashHook?.("after run", step.name);
    if (outcome instanceof AlreadyUndoneError) return this.#late(order, outcome, attempt);
    if (outcome instanceof Snooze) return this.#snooze(order, outcome);
    if (outcome instanceof Wait) return this.#wait(order, outcome, attempt);
    if (outcome instanceof Rejection) return this.#reject(order, outcome, attempt);
    const { made, soldOut, isStale } = await this.#commit(
      order,
      due,
      { record: outcome, ...alongside },
      attempt,
    );
    if (soldOut)
      return alongside.stock?.orWait
        ? this.#wait(order, waitForStock(soldOut), attempt)
        : this.#reject(order, rejectSoldOut(soldOut), attempt);
    // What it did fits other pieces: it runs again, and finds what it did.
    if (isStale) return this.#snooze(await this.#load(order.id, attempt.signal), new Snooze(0));
    if (!made) return this.#overtaken(order.id, attempt, due.step);
    this.#crashHook?.("after commit", step.name);
    return this.#endedAt({ status: due.to, cancellation: null }, "done");
  }

  /** Whether this step is due. Whichever step finds a cancellation request carries it out. */
  #isFor(order: StoredOrder, step: Step): boolean {
    if (step.name === CANCEL.name) return order.cancellation !== null;
    return this.#lifecycle.due(order.status)?.step.name === step.name;
  }

  #load(orderId: string, signal: AbortSignal): Promise<StoredOrder> {
    return offTheClock(signal, async () => {
      for (const until = performance.now() + BELIEVED_AFTER_MS; ;) {
        const order = await this.#store.load(orderId);
        if (order !== undefined) return order;
        if (performance.now() >= until) throw new OrderNotFoundError(`there is no order ${orderId}`);
        await untilAborted(signal, () => delay(ASK_AGAIN_MS));
      }
    });
  }

  #endedAt(
    { status, cancellation }: Pick<StoredOrder, "status" | "cancellation">,
    outcome: "done" | "not due" = "not due",
  ): Execution {
    return { outcome, status, next: this.#lifecycle.next({ status, cancelled: cancellation !== null }) };
  }

  async #snooze(order: StoredOrder, { milliseconds }: Snooze): Promise<Execution> {
    if (order.failed || order.waiting) await this.#store.clearFailed(order.id);
    return { outcome: "snoozed", milliseconds };
  }

  /** Whoever acts may do so before the wait is written. Then the stage runs again at once: its answer was too old. */
  async #wait(order: StoredOrder, { for: what, until }: Wait, attempt: Attempt): Promise<Execution> {
    const { step, signal, mark } = attempt;
    const { id: orderId, status, waiting, wokenAt } = order;
    const at = timestamp();
    const isSame = waiting?.stage === step.name && waiting.for === what;
    // A time that passes before the wait is written is as good as one right after it: the stage decides. Once it has been
    // told so, as this attempt began, it is asked no more often than any other.
    const isOver = until !== null && until <= at && !waitedIn(step, order, mark?.startedAt)?.isOver;
    const wait: OrderWait = {
      ...mark,
      orderId,
      status,
      stage: step.name,
      for: what,
      since: isSame ? waiting.since : at,
      until: isOver ? new Date(at.getTime() + 1) : until,
      wokenAt,
      isNew: !isSame,
      at,
    };
    if (await offTheClock(signal, () => this.#store.markWaiting(wait)))
      return { outcome: "waiting", for: what };
    const current = await this.#load(orderId, signal);
    if (current.status === status && (current.cancellation !== null) === (step.name === CANCEL.name))
      return this.#snooze(current, new Snooze(0));
    return this.#overtaken(orderId, attempt);
  }

  /** A rejection cancels the order like any other cancellation. */
  async #reject(order: StoredOrder, rejection: Rejection, attempt: Attempt): Promise<Execution> {
    const { step, signal, mark } = attempt;
    const reason = redacted(rejection.reason, order);
    if (!this.#lifecycle.canCancel(order.status)) {
      throw new TooLateToRejectError(`rejected at ${order.status}, too late to cancel: ${reason}`);
    }
    const request: CancellationRequest = {
      ...mark,
      orderId: order.id,
      whileIn: [order.status],
      stage: step.name,
      reason,
      at: timestamp(),
    };
    const accepted = await offTheClock(signal, () => this.#store.requestCancellation(request));
    return accepted ? this.#cancel(order, reason, attempt) : this.#overtaken(order.id, attempt);
  }

  /** Undoes stages in reverse, then sets CANCELLED. Safe to repeat after a crash: undo is idempotent. */
  async #cancel(order: StoredOrder, reason: string, attempt: Attempt): Promise<Execution> {
    const { signal, mark } = attempt;
    const record = await this.#runner.undoAll(order, attempt).catch((error: unknown) => {
      if (error instanceof UndecidedError) return waitOf(error);
      throw error;
    });
    if (record instanceof Wait) return this.#wait(order, record, { ...attempt, step: CANCEL });
    const { made } = await this.#store.applyTransition({
      ...mark,
      orderId: order.id,
      from: order.status,
      to: CANCELLED,
      stage: null,
      reason,
      record,
      unlessCancelled: false,
      at: timestamp(),
    });
    if (!made) return this.#endedAt(await this.#load(order.id, signal));
    this.#crashHook?.("after commit", CANCEL.name);
    return { outcome: "cancelled", reason };
  }

  /** The point of no return is passed only if nobody has requested a cancellation meanwhile. */
  #commit(
    order: StoredOrder,
    { step: stage, from, to }: StageTransition,
    { record, stock, payment, shipment }: Pick<OrderTransition, "record" | "stock" | "payment" | "shipment">,
    { signal, mark }: Attempt,
  ): Promise<Pick<TransitionResult, "made" | "soldOut" | "isStale">> {
    const transition: OrderTransition = {
      orderId: order.id,
      from,
      to,
      stage: stage.name,
      reason: null,
      record,
      unlessCancelled: stage.pointOfNoReturn ?? false,
      cancelledPieces: stage.pointOfNoReturn ? cancelledPieces(order.lines) : undefined,
      stock,
      payment,
      shipment,
      at: timestamp(),
      // Not spread: this is built for every stage of every order.
      attempt: mark?.attempt,
      startedAt: mark?.startedAt,
    };
    return offTheClock(signal, () => this.#store.applyTransition(transition));
  }

  /**
   * The stage ran after its undo: another process is cancelling the order, or has cancelled it.
   *
   * @throws the error if nobody has: then a person has to look at the order.
   */
  async #late({ id, status }: StoredOrder, error: AlreadyUndoneError, attempt: Attempt): Promise<Execution> {
    const order = await this.#load(id, attempt.signal);
    if (order.status === status && order.cancellation === null) throw error;
    return this.#overtaken(id, attempt);
  }

  /** The order changed status, or was cancelled, while the stage ran. @param ran the stage, if its work is done. */
  async #overtaken(orderId: string, attempt: Attempt, ran?: Stage): Promise<Execution> {
    const order = await this.#load(orderId, attempt.signal);
    if (order.cancellation && this.#isFor(order, attempt.step))
      return this.#cancel(order, order.cancellation.reason, attempt);
    // It was cancelled meanwhile, and the stage may have had its effect after its undo.
    if (order.status === CANCELLED && ran?.undo) await this.#runner.undo(order, ran, attempt);
    return this.#endedAt(order);
  }
}
