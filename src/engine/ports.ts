import type { AttemptMark } from "../order/event.ts";
import type { Transition } from "../order/lifecycle.ts";
import type { NewOrder, StageRecord, StoredOrder } from "../order/order.ts";
import type { Locks } from "../platform/group-commit.ts";

/*
 * What the engine needs of others: a store that has the orders, and a dispatcher that has them carried on. `db` and
 * `queues` implement these contracts; without queues, inline/processing.ts is the dispatcher.
 */

/** Keeps the orders. Every call throws a `StorageError` when the store can't do it. */
export interface OrderStore {
  /**
   * Writes orders, with their lines and first events, all or none. Requests of one client under one idempotency key make
   * one order, the first one's. Harmless to repeat when nobody knows whether it took effect.
   */
  createOrders(orders: readonly NewOrder[]): Promise<CreatedOrder[]>;
  /** What orders lock that are about to be created. */
  readonly newOrderLocks: Locks<NewOrder>;
  /**
   * The orders of these ids, in the order of the ids; undefined where there is none.
   *
   * @param known an order as it was read before: then only what may have changed since is read.
   */
  findOrders(
    ids: readonly string[],
    known?: (id: string) => StoredOrder | undefined,
  ): Promise<(StoredOrder | undefined)[]>;
  /**
   * Moves orders on, each only if it still has the status that it is moved from (compare-and-set), and clears their marks
   * as failed. All in one transaction.
   *
   * @param beforeCommit called when all is ready, and nothing committed yet.
   */
  applyTransitions(
    transitions: readonly OrderTransition[],
    beforeCommit?: () => void,
  ): Promise<TransitionResult[]>;
  /** What transitions lock. */
  readonly transitionLocks: Locks<OrderTransition>;
  /**
   * Notes that an order is to be cancelled, if it still has one of these statuses; the first request and its reason stand.
   *
   * @param action written down with it, if it was not noted before.
   * @returns whether the order is to be cancelled now.
   */
  requestCancellation(request: CancellationRequest, action?: NewAction): Promise<boolean>;
  /** The same for many orders of one status. @returns of how many it was noted now. */
  requestCancellations(request: CancellationsRequest): Promise<number>;
  /** Marks an order as resting in a step's failed set, unless it has moved on to another status. */
  markFailed(failure: OrderFailure): Promise<void>;
  /** Clears an order's mark as failed: its stage runs again, though it is not done yet. */
  clearFailed(orderId: string): Promise<void>;
  /** Writes down attempts that failed, after which there will be others. */
  appendFailedAttempts(attempts: readonly FailedAttempt[]): Promise<void>;
  /** One page of the orders of a status, in order of id, after the one that is given. */
  listStates(page: {
    readonly status: string;
    readonly after?: string | undefined;
    readonly limit: number;
  }): Promise<OrderState[]>;
}

/** What people do to orders and queues, and the trail of who did it. Every call throws a `StorageError` when it fails. */
export interface OperationStore {
  /** Writes down who does what, and when. @returns the action's id. */
  recordAction(action: NewAction): Promise<number>;
  /** Writes down how far an action has come. */
  updateAction(id: number, progress: ActionProgress): Promise<void>;
  /** The failed orders of a group among the next `limit` that have failed, in order of stage and id. */
  listFailed(
    group: FailureGroup,
    page: { readonly limit: number; readonly after?: FailedPlace | undefined },
  ): Promise<FailedPage>;
  /** How many orders have failed in a stage, counted up to a limit. */
  countFailed(stage: string, limit: number): Promise<{ readonly count: number; readonly more: boolean }>;
  /**
   * Clears the marks of those of the orders that have failed, so that they are on their way again. This is not a change of
   * the order: the sweeper finds at once that its job has ended.
   *
   * @param action written down with it, if one of them had failed. @returns how many had.
   */
  resumeOrders(ids: readonly string[], actor: string, action?: NewAction): Promise<number>;
  /** Changes a part of how a step's queue is to be over all workers, and writes down who did. */
  changeQueue(step: string, change: QueueChange, action: NewAction): Promise<void>;
}

export type ActionDetails = Readonly<Record<string, string | number | boolean | null>>;

/** What somebody does. */
export interface NewAction {
  readonly actor: string;
  readonly action: string;
  /** What it is done to: an order's id, a stage, a queue, a webhook endpoint's id. */
  readonly target: string;
  readonly details?: ActionDetails | null;
  /** Done, unless it says otherwise. */
  readonly state?: ActionProgress["state"];
  /** Orders that it is to be done to; null where they are not counted. */
  readonly total?: number | null;
}

export interface ActionProgress {
  readonly state: "running" | "done" | "failed";
  /** Orders that it was done to until now. */
  readonly done: number;
  readonly details?: ActionDetails | null;
}

/** Failed orders: of a stage, for a reason, before a time; all of them without any of these. */
export interface FailureGroup {
  readonly stage?: string | undefined;
  /** Apart from the ids in it: orders that failed alike are one group. */
  readonly reason?: string | undefined;
  readonly before?: Date | undefined;
}

/** A place in the list of failed orders: after this one. */
export interface FailedPlace {
  readonly stage: string;
  readonly id: string;
}

export interface FailedPage {
  readonly orders: readonly FailedOrder[];
  /** How many failed orders were looked at for them. */
  readonly looked: number;
  /** The place to go on after; undefined at the end. */
  readonly next: FailedPlace | undefined;
}

/** A failed order, as far as it takes to have it go on. */
export interface FailedOrder {
  readonly id: string;
  readonly status: string;
  readonly cancelRequested: boolean;
}

/** What is to be changed of a queue, over all workers. */
export interface QueueChange {
  readonly paused?: boolean;
  /** Jobs at the same moment; null for as many as the workers take. */
  readonly concurrency?: number | null;
  /** So many jobs in so many milliseconds; null for what the stage itself says. */
  readonly rateLimit?: { readonly max: number; readonly durationMs: number } | null;
}

/** The order that stands for a request to create one. */
export interface CreatedOrder {
  readonly id: string;
  readonly createdAt: Date;
  /** Of the request that made it; null without an idempotency key. */
  readonly requestHash: string | null;
  /** Whether an earlier request under the same key had made it. */
  readonly repeated: boolean;
}

/** A transition of one order, to the next status or to CANCELLED. */
export interface OrderTransition extends Partial<AttemptMark> {
  readonly orderId: string;
  readonly from: string;
  readonly to: string;
  /** The stage that did the work; null for a cancellation. */
  readonly stage: string | null;
  readonly reason: string | null;
  readonly record: StageRecord | null;
  /** Leaves the order alone when its cancellation was asked for meanwhile. */
  readonly unlessCancelled: boolean;
  readonly at: Date;
}

/** What became of a transition. */
export interface TransitionResult {
  /** Whether it was made. */
  readonly made: boolean;
  /** Whether the order is to be cancelled, as far as anybody knew when it was moved. */
  readonly toBeCancelled: boolean;
}

/** Why an order is to be cancelled, and who says so. */
export interface CancellationRequest extends Partial<AttemptMark> {
  readonly orderId: string;
  readonly whileIn: readonly string[];
  readonly reason: string;
  readonly at: Date;
  /** Who asked for it; absent for what the service found by itself. */
  readonly actor?: string | null;
  /** The stage that said no, in this attempt; absent for a request from outside. */
  readonly stage?: string;
}

/** Why orders of one status are to be cancelled. */
export interface CancellationsRequest {
  readonly orderIds: readonly string[];
  readonly status: string;
  readonly reason: string;
  readonly at: Date;
}

/** An order that has come to rest in a step's failed set. */
export interface OrderFailure extends Partial<AttemptMark> {
  readonly orderId: string;
  readonly whileIn: readonly string[];
  readonly stage: string;
  readonly reason: string;
  readonly at: Date;
}

/** A failed attempt at a step, after which there will be another one. */
export interface FailedAttempt extends AttemptMark {
  readonly orderId: string;
  readonly stage: string;
  readonly reason: string;
  readonly at: Date;
}

/** An order as whoever looks for what is late or lost needs to see it. */
export interface OrderState {
  readonly id: string;
  readonly status: string;
  readonly createdAt: Date;
  readonly updatedAt: Date;
  /** When it came to rest in a failed set, if it rests there now. */
  readonly failedAt: Date | null;
  readonly cancelRequestedAt: Date | null;
}

/** Has orders carried on. Every call throws a {@link DispatcherUnavailableError} when the dispatcher is away. */
export interface Dispatcher {
  /** Hands over orders that wait for something. Handing over the same again does nothing. */
  enqueue(due: readonly DueJob[]): Promise<void>;
  /** Like {@link enqueue}, for orders that may have been lost. @returns how many were. */
  revive(due: readonly DueJob[]): Promise<number>;
  /** Hands over orders that wait for something else now than before. Whatever runs for them is left alone. */
  replace(replacements: readonly Replacement[]): Promise<void>;
}

/** The part of a step that suspected orders may take: of its places, and of what its rate limit lets through. */
export const SUSPECTS_SHARE = 1 / 4;

/** A job to be: the order waits for this transition. */
export interface DueJob {
  readonly orderId: string;
  readonly transition: Transition;
  /** Whether the order has failed in this before: then it takes one of the places, and turns, of suspected orders. */
  readonly suspect?: boolean;
}

/** One job instead of another. */
export interface Replacement {
  readonly job: DueJob;
  readonly by: DueJob;
}

/** The dispatcher is away for everybody. It may have done what it was asked all the same. */
export class DispatcherUnavailableError extends Error {
  override name = "DispatcherUnavailableError";

  constructor(cause: Error) {
    super(cause.message, { cause });
  }
}

/** Tells whether the dispatcher still has its jobs: it is lost with them. */
export interface JobMarker {
  /** The restoration under way: begins one if the jobs were lost. Undefined if they are all there. */
  restoration(): Promise<Restoration | undefined>;
  /** Writes down how far it has come, if it is still under way. */
  goOn(restoration: Restoration, reached: Omit<Restoration, "text">): Promise<void>;
  /** Ends it: all jobs are there. @returns whether it was still under way. */
  end(restoration: Restoration): Promise<boolean>;
}

/** How far the jobs of a dispatcher that had lost them have been put back. */
export interface Restoration {
  /** Orders before this place. */
  readonly orders: number;
  /** Where to go on: in this status, after this id. Undefined at the beginning. */
  readonly status: string | undefined;
  readonly after: string | undefined;
  /** As the marker has it: it names this restoration, so that one begun after another loss is never taken for it. */
  readonly text: string;
}
