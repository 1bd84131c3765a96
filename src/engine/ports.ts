import type { Amendable, Amendment } from "../order/amendment.ts";
import type { AttemptMark } from "../order/event.ts";
import type { Transition } from "../order/lifecycle.ts";
import type { NewOrder, OrderLine, StageRecord, StoredOrder, Waiting } from "../order/order.ts";
import type { PaymentChange } from "../order/payment.ts";
import type { StockOperation } from "../order/ports.ts";
import type { ShipmentChange } from "../order/shipment.ts";
import type { Locks } from "../platform/contention.ts";

/*
 * What the engine needs: a store for orders, and a dispatcher that gets them processed. `db` and
 * `queues` implement them; without queues, inline/processing.ts is the dispatcher.
 */

/** Stores orders. Every method throws a `StorageError` when the store fails. */
export interface OrderStore {
  /**
   * Inserts orders with their lines and first events, all or none. Requests with the same client and idempotency key
   * create one order, the first. Safe to repeat when the outcome is unknown.
   */
  createOrders(orders: readonly NewOrder[]): Promise<CreatedOrder[]>;
  /** The locks that creating an order takes. */
  readonly newOrderLocks: Locks<NewOrder>;
  /**
   * The orders with these ids, in the same sequence; undefined where there is none.
   *
   * @param known returns an order read earlier; then only what may have changed is read.
   */
  findOrders(
    ids: readonly string[],
    known?: (id: string) => StoredOrder | undefined,
  ): Promise<(StoredOrder | undefined)[]>;
  /**
   * Applies transitions in one transaction. Each changes its order only if that still has the `from` status
   * (compare-and-set), and clears its failed mark.
   *
   * @param beforeCommit called when everything is written but not committed.
   */
  applyTransitions(
    transitions: readonly OrderTransition[],
    beforeCommit?: () => void,
  ): Promise<TransitionResult[]>;
  /** The locks that a transition takes. */
  readonly transitionLocks: Locks<OrderTransition>;
  /**
   * Requests an order's cancellation if it has one of these statuses. The first request and its reason stand.
   *
   * @param action recorded with the request, if it is the first.
   * @returns whether a cancellation is now requested.
   */
  requestCancellation(request: CancellationRequest, action?: NewAction): Promise<boolean>;
  /** The same for many orders of one status, but for those that are held. @returns how many were newly requested. */
  requestCancellations(request: CancellationsRequest): Promise<number>;
  /**
   * Marks orders as waiting, in one transaction, each unless it has another status by now, is to be cancelled, or was
   * woken since its stage asked.
   *
   * @returns whether each is marked.
   */
  markWaiting(waits: readonly OrderWait[]): Promise<boolean[]>;
  /**
   * Notes that these orders were woken. They don't change otherwise. @returns the orders in the same sequence; undefined
   * where there is none.
   */
  wakeOrders(ids: readonly string[]): Promise<(WokenOrder | undefined)[]>;
  /** Marks an order as failed in a step, unless its status has changed. */
  markFailed(failure: OrderFailure): Promise<void>;
  /** Clears an order's marks as failed and as waiting, because its stage runs again. */
  clearFailed(orderId: string): Promise<void>;
  /** Records failed attempts that will be retried. */
  appendFailedAttempts(attempts: readonly FailedAttempt[]): Promise<void>;
  /** One page of a status, sorted by id, after the given id. */
  listStates(page: {
    readonly status: string;
    readonly after?: string | undefined;
    readonly limit: number;
  }): Promise<OrderState[]>;
}

/**
 * Operators' actions on orders and queues, and the audit trail. Every method throws a `StorageError` when the store
 * fails.
 */
export interface OperatorStore {
  /** Records an action. @returns its id. */
  recordAction(action: NewAction): Promise<number>;
  /** Records an action's progress. */
  updateAction(id: number, progress: ActionProgress): Promise<void>;
  /** Those of the next `limit` failed orders that belong to the group, sorted by stage and id. */
  listFailed(
    group: FailureFilter,
    page: { readonly limit: number; readonly after?: FailedPlace | undefined },
  ): Promise<FailedPage>;
  /** Failed orders in a stage, counted up to a limit. */
  countFailed(stage: string, limit: number): Promise<BoundedCount>;
  /**
   * Clears the failed marks of these orders; they do not change otherwise.
   *
   * @param action recorded with it, if at least one order had failed. @returns how many had failed.
   */
  resumeOrders(ids: readonly string[], actor: string, action?: NewAction): Promise<number>;
  /**
   * Changes an order as decided on it under its lock, and records the event and the action.
   *
   * @returns the change; "unchanged" if there was nothing to change; undefined if there is no such order.
   * @throws what `decide` throws.
   */
  amendOrder(
    orderId: string,
    decide: (order: Amendable) => Amendment | undefined,
    by: { readonly actor: string; readonly at: Date; readonly action?: NewAction },
  ): Promise<Amendment | "unchanged" | undefined>;
  /** Changes part of a queue's settings for all workers, and records the action. */
  changeQueue(step: string, change: Partial<QueueSettings>, action: NewAction): Promise<void>;
}

export type ActionDetails = Readonly<Record<string, string | number | boolean | null>>;

/** An operator's action. */
export interface NewAction {
  readonly actor: string;
  readonly action: string;
  /** The target: an order id, stage, queue or webhook endpoint id. */
  readonly target: string;
  readonly details?: ActionDetails | null;
  /** Orders processed; 0 by default. */
  readonly done?: number;
  /** Defaults to "done". */
  readonly state?: ActionProgress["state"];
  /** Orders to process; null if not counted. */
  readonly total?: number | null;
}

export interface ActionProgress {
  readonly state: "running" | "done" | "failed";
  /** Orders processed so far. */
  readonly done: number;
  readonly details?: ActionDetails | null;
}

/** Failed orders, filtered by stage, reason and time. No filter matches all. */
export interface FailureFilter {
  readonly stage?: string | undefined;
  /** Compared without the ids in it, so that orders that failed alike form one group. */
  readonly reason?: string | undefined;
  readonly before?: Date | undefined;
}

/** A cursor into the list of failed orders. */
export interface FailedPlace {
  readonly stage: string;
  readonly id: string;
}

export interface FailedPage {
  readonly orders: readonly FailedOrder[];
  /** How many failed orders were examined. */
  readonly looked: number;
  /** The cursor for the next page; undefined at the end. */
  readonly next: FailedPlace | undefined;
}

/** What resuming needs to know of a failed order. */
export interface FailedOrder {
  readonly id: string;
  readonly status: string;
  readonly cancelRequested: boolean;
}

/** A queue's settings, for all workers. */
export interface QueueSettings {
  readonly paused: boolean;
  /** Concurrent jobs; null for no limit beyond the workers' own. */
  readonly concurrency: number | null;
  /** `max` jobs per `durationMs`; null for the stage's own limit. */
  readonly rateLimit: { readonly max: number; readonly durationMs: number } | null;
}

/** The queue settings of a step as stored. */
export interface StoredSettings extends QueueSettings {
  readonly step: string;
  readonly updatedAt: Date;
}

/** A count up to a limit. */
export interface BoundedCount {
  readonly count: number;
  readonly more: boolean;
}

/** The order that a create request resolves to. */
export interface CreatedOrder {
  readonly id: string;
  readonly createdAt: Date;
  /** Hash of the request that created it; null without an idempotency key. */
  readonly requestHash: string | null;
  /** Whether an earlier request with the same key created it. */
  readonly repeated: boolean;
}

/** The attempt that brings a change about, if one does. */
type Marked = { readonly [Field in keyof AttemptMark]?: AttemptMark[Field] | undefined };

/** A move of an order's stock. */
export interface StockChange {
  readonly operation: StockOperation;
  readonly lines: readonly OrderLine[];
  /** Whether the order waits for its goods if they are sold out, from then on and in turn. */
  readonly orWait?: boolean;
}

/** One order's change of status, to the next one or to CANCELLED. */
export interface OrderTransition extends Marked {
  readonly orderId: string;
  readonly from: string;
  readonly to: string;
  /** The stage that ran; null for a cancellation. */
  readonly stage: string | null;
  readonly reason: string | null;
  readonly record: StageRecord | null;
  /** Do nothing if a cancellation was requested meanwhile. */
  readonly unlessCancelled: boolean;
  /** How many cancelled pieces the stage knew of: do nothing if there are others. Undefined if it does not matter. */
  readonly cancelledPieces?: number | undefined;
  /** Moves the order's stock in the same transaction; only if there is enough. */
  readonly stock?: StockChange | undefined;
  /** What has become of the order's payment, written in the same transaction. */
  readonly payment?: PaymentChange | undefined;
  /** What has become of a shipment, written in the same transaction. */
  readonly shipment?: ShipmentChange | undefined;
  readonly at: Date;
}

/** The result of a transition. */
export interface TransitionResult {
  /** Whether the status changed. */
  readonly made: boolean;
  /** Whether a cancellation was requested by then. */
  readonly toBeCancelled: boolean;
  /** Whether a client or an operator has changed the order by then: what was read of it may be out of date. */
  readonly isChanged?: boolean;
  /** SKUs without enough stock, because of which the status did not change. */
  readonly soldOut?: readonly string[];
  /** Whether pieces were cancelled of which the stage did not know, because of which the status did not change. */
  readonly isStale?: boolean;
}

/** A request to cancel an order. */
export interface CancellationRequest extends Partial<AttemptMark> {
  readonly orderId: string;
  readonly whileIn: readonly string[];
  readonly reason: string;
  readonly at: Date;
  /** Who asked; absent if the service itself did. */
  readonly actor?: string | null;
  /** The stage that rejected the order; absent for a request from outside. */
  readonly stage?: string;
}

/** A request to cancel many orders of one status. */
export interface CancellationsRequest {
  readonly orderIds: readonly string[];
  readonly status: string;
  readonly reason: string;
  readonly at: Date;
}

/** An order that waits for somebody else to act. */
export interface OrderWait extends Waiting, Partial<AttemptMark> {
  readonly orderId: string;
  /** Its status. */
  readonly status: string;
  /** When it had last been woken when its stage asked. */
  readonly wokenAt: Date | null;
  /** Whether it did not wait for this before, which is an event. */
  readonly isNew: boolean;
  readonly at: Date;
}

/** An order that was woken. */
export interface WokenOrder {
  readonly id: string;
  readonly status: string;
  /** Whether a stage of it waits for somebody else; or its undoing, if it was cancelled. */
  readonly isWaiting: boolean;
  readonly isCancelled: boolean;
  /** The step in which it has failed, if it has: a stage, or cancel. */
  readonly failedIn: string | null;
}

/** An order whose attempts are used up. */
export interface OrderFailure extends Partial<AttemptMark> {
  readonly orderId: string;
  readonly whileIn: readonly string[];
  readonly stage: string;
  readonly reason: string;
  readonly at: Date;
}

/** A failed attempt that will be retried. */
export interface FailedAttempt extends AttemptMark {
  readonly orderId: string;
  readonly stage: string;
  readonly reason: string;
  readonly at: Date;
}

/** What the sweeper needs to know of an order. */
export interface OrderState {
  readonly id: string;
  readonly status: string;
  readonly createdAt: Date;
  /** From when deadlines count; null for its creation. */
  readonly dueFrom: Date | null;
  readonly updatedAt: Date;
  /** When it failed, if it is failed now. */
  readonly failedAt: Date | null;
  /** Since when it has waited, if somebody else has to act, and until when. */
  readonly waitingSince: Date | null;
  readonly waitingUntil: Date | null;
  readonly waitingFor: string | null;
  /** When it was last woken, if its stage has not been asked since. */
  readonly wokenAt: Date | null;
  /** What holds it; null if nothing does. */
  readonly holds: readonly object[] | null;
  readonly cancelRequestedAt: Date | null;
}

/** Gets orders processed. Every method throws a {@link DispatcherUnavailableError} when the dispatcher is away. */
export interface Dispatcher {
  /** Enqueues due jobs. Enqueuing the same job twice does nothing. */
  enqueue(due: readonly DueJob[]): Promise<void>;
  /** Like {@link enqueue}, for jobs that may be lost. @returns how many were. */
  revive(due: readonly DueJob[]): Promise<number>;
  /**
   * Has delayed jobs run now that are due later than their delay allows, or should have run by now: a process whose clock
   * was wrong put them off, or all who could run them have such a clock. A dispatcher without delays does not have this.
   *
   * @returns how many.
   */
  bringForward?(due: readonly DueJob[]): Promise<number>;
  /** Replaces due jobs by others. Running jobs are left alone. */
  replace(replacements: readonly Replacement[]): Promise<void>;
}

/** The share of a step's places, and of its rate limit, that suspected orders may use. */
export const SUSPECTS_SHARE = 1 / 4;

/** A job to enqueue: the order waits for this transition. */
export interface DueJob {
  readonly orderId: string;
  readonly transition: Transition;
  /** Whether the order has failed in this stage before. Then it uses the places reserved for suspects. */
  readonly suspect?: boolean;
  /** Milliseconds until a worker may take it; 0 by default. */
  readonly delayMs?: number;
  /** The first attempt, which failed in place, before the job existed; the job counts it. */
  readonly failed?: FailedFirst;
  /** How often in a row the order was postponed because its service failed all orders. */
  readonly putOffs?: number;
  /** Whether a process died while it worked on the order. */
  readonly hasCrashed?: boolean;
}

/** A first attempt that failed in place. */
export interface FailedFirst {
  readonly kind: "failed" | "permanent";
  readonly message: string;
}

/** One job in place of another, or of none. */
export interface Replacement {
  readonly job: DueJob;
  readonly by?: DueJob | undefined;
}

/** The dispatcher is unavailable. It may still have carried out the call. */
export class DispatcherUnavailableError extends Error {
  override name = "DispatcherUnavailableError";

  constructor(cause: Error) {
    super(cause.message, { cause });
  }
}

/** A marker kept with the jobs, and lost with them. */
export interface JobMarker {
  /** The restoration under way, starting one if the jobs were lost; undefined if they are all there. */
  restoration(): Promise<Restoration | undefined>;
  /** Saves the restoration's progress, if it is still under way. */
  goOn(restoration: Restoration, reached: Omit<Restoration, "text">): Promise<void>;
  /** Ends the restoration. @returns whether it was still under way. */
  end(restoration: Restoration): Promise<boolean>;
  /**
   * Identifies the data's history: another one means that the last jobs may be lost, as after a failover. Undefined if it
   * can't be told now.
   */
  history(): Promise<string | undefined>;
}

/** The progress of restoring lost jobs. */
export interface Restoration {
  /** Orders queued so far. */
  readonly orders: number;
  /** Where to continue: in this status, after this id. Undefined at the start. */
  readonly status: string | undefined;
  readonly after: string | undefined;
  /**
   * The marker's value. It identifies this restoration, so that one started after another loss is never mistaken for
   * it.
   */
  readonly text: string;
}
