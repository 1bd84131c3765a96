import { CANCEL, CANCELLED, type Lifecycle, type Transition } from "../src/order/lifecycle.ts";
import type { StageRecord, StoredOrder } from "../src/order/order.ts";
import type { Ports } from "../src/order/ports.ts";
import {
  Rejection,
  Snooze,
  type Outcome,
  type Stage,
  type StageContext,
  type Step,
} from "../src/order/stage.ts";
import type { StatusChange } from "../db/orders.ts";
import { withoutSecrets } from "./redact.ts";
import type { DueJob } from "../queues/queues.ts";

/** What the executor needs of MySQL and Redis; each call may share its transaction with others of the moment. */
export interface ExecutorStore {
  load(orderId: string): Promise<StoredOrder | undefined>;
  changeStatus(change: StatusChange): Promise<boolean>;
  requestCancellation(request: {
    orderId: string;
    whileIn: readonly string[];
    reason: string;
    at: Date;
  }): Promise<boolean>;
  clearFailed(orderId: string): Promise<void>;
  enqueue(job: DueJob): Promise<void>;
}

/** How one execution ended. */
export type Execution =
  /** The stage is done and the order has its status. */
  | { readonly outcome: "done"; readonly status: string }
  /** Not yet: ask again. */
  | { readonly outcome: "snoozed"; readonly milliseconds: number }
  /** Everything that was done is undone. */
  | { readonly outcome: "cancelled"; readonly reason: string }
  /** The order waits for something else, or for nothing: a late or doubled job, or one from before a deploy. */
  | { readonly outcome: "not due"; readonly status: string };

/** The job names an order that does not exist: no retry will find it. */
export class OrderNotFoundError extends Error {
  override name = "OrderNotFoundError";
}

/** A stage rejected an order that can no longer be cancelled: a person has to look. */
export class TooLateToRejectError extends Error {
  override name = "TooLateToRejectError";
}

/**
 * Carries an order one step further. It asks the order what is due, never the job, so it may be called for any order
 * at any time, late, twice, or in two processes at once: what is done is not done again.
 */
export class Executor {
  readonly #lifecycle: Lifecycle;
  readonly #ports: Ports;
  readonly #store: ExecutorStore;

  constructor(options: {
    readonly lifecycle: Lifecycle;
    readonly ports: Ports;
    readonly store: ExecutorStore;
  }) {
    this.#lifecycle = options.lifecycle;
    this.#ports = options.ports;
    this.#store = options.store;
  }

  /**
   * Does for the order what is due in this step.
   *
   * @param signal ends the attempt: its time is up, or the process shuts down.
   * @throws what the stage, a port or the store throws, for BullMQ to retry; {@link OrderNotFoundError} and
   * {@link TooLateToRejectError} when retrying makes no sense.
   */
  async execute(orderId: string, step: Step, signal: AbortSignal): Promise<Execution> {
    const order = await this.#load(orderId);
    try {
      return await this.#advance(order, step, signal);
    } catch (error) {
      throw withoutSecrets(error, order);
    }
  }

  async #advance(order: StoredOrder, step: Step, signal: AbortSignal): Promise<Execution> {
    const due = this.#lifecycle.due(order.status);
    if (!this.#isFor(order, step) || due === undefined) return this.#moveOn(order);
    if (order.cancellation) return this.#cancel(order, order.cancellation.reason, signal);

    const outcome = await this.#run(order, due, signal);
    if (outcome instanceof Snooze) return this.#snooze(order, outcome);
    if (outcome instanceof Rejection) return this.#reject(order, step, outcome, signal);
    if (!(await this.#commit(order, due, outcome))) return this.#overtaken(order.id, step, signal);
    return this.#moveOn({ id: order.id, status: due.to, cancellation: null }, "done");
  }

  /** Whether the order waits for this step. One to be cancelled is undone by whoever comes to it first. */
  #isFor(order: StoredOrder, step: Step): boolean {
    if (step.name === CANCEL.name) return order.cancellation !== null;
    return this.#lifecycle.due(order.status)?.step.name === step.name;
  }

  async #load(orderId: string): Promise<StoredOrder> {
    const order = await this.#store.load(orderId);
    if (order === undefined) throw new OrderNotFoundError(`there is no order ${orderId}`);
    return order;
  }

  /** Makes sure that what the order waits for is queued. */
  async #moveOn(
    order: Pick<StoredOrder, "id" | "status" | "cancellation">,
    outcome: "done" | "not due" = "not due",
  ): Promise<Execution> {
    const move = this.#lifecycle.next({ status: order.status, cancelled: order.cancellation !== null });
    if (move) await this.#store.enqueue({ orderId: order.id, move });
    return { outcome, status: order.status };
  }

  #run(order: StoredOrder, { step: stage }: Transition, signal: AbortSignal): Promise<Outcome> {
    return untilAborted(signal, () => stage.run(order, this.#context(order, stage, signal)));
  }

  async #snooze(order: StoredOrder, { milliseconds }: Snooze): Promise<Execution> {
    if (order.failed) await this.#store.clearFailed(order.id);
    return { outcome: "snoozed", milliseconds };
  }

  /** A stage's no takes the way of every cancellation. */
  async #reject(
    order: StoredOrder,
    step: Step,
    { reason }: Rejection,
    signal: AbortSignal,
  ): Promise<Execution> {
    if (!this.#lifecycle.canCancel(order.status)) {
      throw new TooLateToRejectError(`rejected at ${order.status}, too late to cancel: ${reason}`);
    }
    const request = { orderId: order.id, whileIn: [order.status], reason, at: new Date() };
    const accepted = await this.#store.requestCancellation(request);
    return accepted ? this.#cancel(order, reason, signal) : this.#overtaken(order.id, step, signal);
  }

  /** Undoes in reverse, then sets CANCELLED. Begun again after a crash: undoing twice is undoing once. */
  async #cancel(order: StoredOrder, reason: string, signal: AbortSignal): Promise<Execution> {
    const record: Record<string, StageRecord[string]> = {};
    for (const stage of this.#lifecycle.toUndo(order.status)) {
      const undone = await untilAborted(signal, async () =>
        stage.undo?.(order, this.#context(order, stage, signal)),
      );
      for (const [name, value] of Object.entries(undone ?? {})) record[`${stage.name}.${name}`] = value;
    }
    const cancelled = await this.#store.changeStatus({
      orderId: order.id,
      from: order.status,
      to: CANCELLED,
      stage: null,
      reason,
      record,
      unlessCancelled: false,
      at: new Date(),
    });
    return cancelled ? { outcome: "cancelled", reason } : this.#moveOn(await this.#load(order.id));
  }

  /** Past the point of no return only an order goes whose cancellation nobody asked for in the meantime. */
  #commit(order: StoredOrder, { step: stage, from, to }: Transition, record: StageRecord): Promise<boolean> {
    return this.#store.changeStatus({
      orderId: order.id,
      from,
      to,
      stage: stage.name,
      reason: null,
      record,
      unlessCancelled: stage.pointOfNoReturn ?? false,
      at: new Date(),
    });
  }

  /** The status was moved, or a cancellation asked for, while the stage ran. */
  async #overtaken(orderId: string, step: Step, signal: AbortSignal): Promise<Execution> {
    const order = await this.#load(orderId);
    if (order.cancellation && this.#isFor(order, step))
      return this.#cancel(order, order.cancellation.reason, signal);
    return this.#moveOn(order);
  }

  #context(order: StoredOrder, stage: Stage, signal: AbortSignal): StageContext {
    const runKey = `${order.id}:${stage.name}`;
    return { ports: this.#ports, runKey, undoKey: `${runKey}:undo`, signal };
  }
}

/** Stops waiting for work when the signal says so; work that ignores the signal ends unheard. */
async function untilAborted<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
  signal.throwIfAborted();
  let stopWaiting: (() => void) | undefined;
  const aborted = new Promise<never>((_resolve, reject) => {
    stopWaiting = () => reject(signal.reason);
    signal.addEventListener("abort", stopWaiting, { once: true });
  });
  try {
    return await Promise.race([work(), aborted]);
  } finally {
    if (stopWaiting) signal.removeEventListener("abort", stopWaiting);
  }
}
