import type { AttemptMark } from "../order/event.ts";
import { CANCEL, CANCELLED, type Lifecycle, type StageTransition } from "../order/lifecycle.ts";
import type { StageRecord, StoredOrder } from "../order/order.ts";
import type { Ports } from "../order/ports.ts";
import { Rejection, Snooze, type Outcome, type Stage, type StageContext, type Step } from "../order/stage.ts";
import type { CrashPoint } from "./crash-points.ts";
import { isOutage, NoPlaceError, serviceOf, StageUnavailableError } from "./outage.ts";
import type { CancellationRequest, DueJob, OrderTransition } from "./ports.ts";
import { withoutSecrets } from "./redact.ts";
import { offTheClock } from "../platform/time-limit.ts";
import { untilAborted } from "../platform/until-aborted.ts";

/** What the executor needs of the store, an order at a time; each call may share its transaction with others. */
export interface ExecutorStore {
  load(orderId: string): Promise<StoredOrder | undefined>;
  /** The order as this process has moved it a moment ago, when nobody wanted it cancelled: as good as a look at it. */
  recall?(orderId: string): StoredOrder | undefined;
  applyTransition(transition: OrderTransition): Promise<boolean>;
  requestCancellation(request: CancellationRequest): Promise<boolean>;
  clearFailed(orderId: string): Promise<void>;
}

/** Work that a stage does, or undoes, for an order. */
export interface StageWork {
  readonly stage: Pick<Stage, "name">;
  /** Whose job the order has: the stage's own, or that of undoing. */
  readonly step: Pick<Step, "name">;
  readonly order: Pick<StoredOrder, "id" | "customerId">;
}

/** What stands between a stage and the services that it needs. */
export interface Breakers {
  /**
   * Does a stage's work for an order, or refuses to.
   * @throws {StageUnavailableError} {@link NoPlaceError} and what `work` throws.
   */
  run<T>(of: StageWork, work: () => Promise<T>): Promise<T>;
}

/** Lets everything through. */
const NO_BREAKERS: Breakers = { run: (_of, work) => work() };

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
  readonly #enqueue: (job: DueJob) => Promise<void>;
  readonly #breakers: Breakers;
  readonly #crashHook: ((point: CrashPoint, step: string) => void) | undefined;

  constructor(options: {
    readonly lifecycle: Lifecycle;
    readonly ports: Ports;
    readonly store: ExecutorStore;
    /** Hands over what an order waits for next. */
    readonly enqueue: (job: DueJob) => Promise<void>;
    readonly breakers?: Breakers;
    /** Called at every point of an execution where a test may kill the process. */
    readonly crashHook?: ((point: CrashPoint, step: string) => void) | undefined;
  }) {
    this.#lifecycle = options.lifecycle;
    this.#ports = options.ports;
    this.#store = options.store;
    this.#enqueue = options.enqueue;
    this.#breakers = options.breakers ?? NO_BREAKERS;
    this.#crashHook = options.crashHook;
  }

  /**
   * Does for the order what is due in this step.
   *
   * @param signal ends the attempt: its time is up, or the process shuts down.
   * @param mark which attempt this is, for the log of events.
   * @throws what the stage, a port or the store throws, for BullMQ to retry; {@link OrderNotFoundError} and
   * {@link TooLateToRejectError} when retrying makes no sense.
   */
  async execute(orderId: string, step: Step, signal: AbortSignal, mark?: AttemptMark): Promise<Execution> {
    const known = this.#store.recall?.(orderId);
    // Another process may have done what was due then: a job for a later step says so, and the order is read.
    const order = known && this.#isFor(known, step) ? known : await this.#load(orderId, signal);
    try {
      return await this.#advance(order, step, signal, mark);
    } catch (error) {
      throw withoutSecrets(error, order);
    }
  }

  async #advance(
    order: StoredOrder,
    step: Step,
    signal: AbortSignal,
    mark: AttemptMark | undefined,
  ): Promise<Execution> {
    const due = this.#lifecycle.due(order.status);
    if (!this.#isFor(order, step) || due === undefined) return this.#moveOn(order);
    if (order.cancellation) return this.#cancel(order, step, order.cancellation.reason, signal, mark);

    this.#crashHook?.("before run", step.name);
    const outcome = await this.#run(order, due.step, signal);
    this.#crashHook?.("after run", step.name);
    if (outcome instanceof Snooze) return this.#snooze(order, outcome);
    if (outcome instanceof Rejection) return this.#reject(order, step, outcome, signal, mark);
    if (!(await this.#commit(order, due, outcome, signal, mark)))
      return this.#overtaken(order.id, step, signal, mark);
    this.#crashHook?.("after commit", step.name);
    const execution = await this.#moveOn({ id: order.id, status: due.to, cancellation: null }, "done");
    this.#crashHook?.("after enqueue", step.name);
    return execution;
  }

  /** Whether the order waits for this step. One to be cancelled is undone by whoever comes to it first. */
  #isFor(order: StoredOrder, step: Step): boolean {
    if (step.name === CANCEL.name) return order.cancellation !== null;
    return this.#lifecycle.due(order.status)?.step.name === step.name;
  }

  async #load(orderId: string, signal: AbortSignal): Promise<StoredOrder> {
    const order = await offTheClock(signal, () => this.#store.load(orderId));
    if (order === undefined) throw new OrderNotFoundError(`there is no order ${orderId}`);
    return order;
  }

  /** Makes sure that what the order waits for is queued. */
  async #moveOn(
    order: Pick<StoredOrder, "id" | "status" | "cancellation">,
    outcome: "done" | "not due" = "not due",
  ): Promise<Execution> {
    const transition = this.#lifecycle.next({ status: order.status, cancelled: order.cancellation !== null });
    if (transition) await this.#enqueue({ orderId: order.id, transition });
    return { outcome, status: order.status };
  }

  #run(order: StoredOrder, stage: Stage, signal: AbortSignal): Promise<Outcome> {
    return this.#outside({ stage, step: stage, order }, signal, (ports) =>
      stage.run(order, this.#context(order, stage, ports, signal)),
    );
  }

  /** Work that may need a service outside: through the stage's breaker, and no longer than the signal lets it. */
  async #outside<T>(of: StageWork, signal: AbortSignal, work: (ports: Ports) => Promise<T>): Promise<T> {
    const { ports, lastAsked } = observed(this.#ports);
    try {
      return await this.#breakers.run(of, () => untilAborted(signal, () => work(ports)));
    } catch (error) {
      if (!isOutage(error)) throw error;
      // When the time of the attempt has run out, it did so on what was asked last.
      const service = serviceOf(error) ?? lastAsked();
      throw new StageUnavailableError(of.stage, { cause: error, order: of.order, service });
    }
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
    mark: AttemptMark | undefined,
  ): Promise<Execution> {
    if (!this.#lifecycle.canCancel(order.status)) {
      throw new TooLateToRejectError(`rejected at ${order.status}, too late to cancel: ${reason}`);
    }
    const request: CancellationRequest = {
      ...mark,
      orderId: order.id,
      whileIn: [order.status],
      stage: step.name,
      reason,
      at: new Date(),
    };
    const accepted = await offTheClock(signal, () => this.#store.requestCancellation(request));
    return accepted
      ? this.#cancel(order, step, reason, signal, mark)
      : this.#overtaken(order.id, step, signal, mark);
  }

  /** Undoes in reverse, then sets CANCELLED. Begun again after a crash: undoing twice is undoing once. */
  async #cancel(
    order: StoredOrder,
    step: Step,
    reason: string,
    signal: AbortSignal,
    mark: AttemptMark | undefined,
  ): Promise<Execution> {
    const record = await this.#undoAll(order, step, signal);
    const cancelled = await this.#store.applyTransition({
      ...mark,
      orderId: order.id,
      from: order.status,
      to: CANCELLED,
      stage: null,
      reason,
      record,
      unlessCancelled: false,
      at: new Date(),
    });
    if (!cancelled) return this.#moveOn(await this.#load(order.id, signal));
    this.#crashHook?.("after commit", CANCEL.name);
    return { outcome: "cancelled", reason };
  }

  /**
   * What can't be undone now keeps the order from being CANCELLED, and nothing else from being undone: goods need not
   * wait for a payment provider to be sold to others. @throws the first error; those of services that are away, and of
   * orders that have to wait for a place, after all others.
   */
  async #undoAll(order: StoredOrder, step: Step, signal: AbortSignal): Promise<StageRecord> {
    const record: Record<string, StageRecord[string]> = {};
    const errors: unknown[] = [];
    for (const stage of this.#lifecycle.toUndo(order.status)) {
      try {
        this.#crashHook?.("before undo", stage.name);
        const undone = await this.#undo(order, stage, step, signal);
        this.#crashHook?.("after undo", stage.name);
        for (const [name, value] of Object.entries(undone ?? {})) record[`${stage.name}.${name}`] = value;
      } catch (error) {
        if (signal.aborted) throw error;
        errors.push(error);
      }
    }
    if (errors.length > 0) throw errors.toSorted((a, b) => weight(b) - weight(a))[0];
    return record;
  }

  #undo(order: StoredOrder, stage: Stage, step: Step, signal: AbortSignal): Promise<StageRecord | undefined> {
    return this.#outside({ stage, step, order }, signal, async (ports) =>
      stage.undo?.(order, this.#context(order, stage, ports, signal)),
    );
  }

  /** Past the point of no return only an order goes whose cancellation nobody asked for in the meantime. */
  #commit(
    order: StoredOrder,
    { step: stage, from, to }: StageTransition,
    record: StageRecord,
    signal: AbortSignal,
    mark: AttemptMark | undefined,
  ): Promise<boolean> {
    const transition: OrderTransition = {
      ...mark,
      orderId: order.id,
      from,
      to,
      stage: stage.name,
      reason: null,
      record,
      unlessCancelled: stage.pointOfNoReturn ?? false,
      at: new Date(),
    };
    return offTheClock(signal, () => this.#store.applyTransition(transition));
  }

  /** The status was moved, or a cancellation asked for, while the stage ran. */
  async #overtaken(
    orderId: string,
    step: Step,
    signal: AbortSignal,
    mark: AttemptMark | undefined,
  ): Promise<Execution> {
    const order = await this.#load(orderId, signal);
    if (order.cancellation && this.#isFor(order, step))
      return this.#cancel(order, step, order.cancellation.reason, signal, mark);
    return this.#moveOn(order);
  }

  #context(order: StoredOrder, stage: Stage, ports: Ports, signal: AbortSignal): StageContext {
    const runKey = `${order.id}:${stage.name}`;
    return { ports, runKey, undoKey: `${runKey}:undo`, signal };
  }
}

/** The ports, and which of them was last taken up. */
function observed(ports: Ports): { ports: Ports; lastAsked: () => keyof Ports | undefined } {
  let last: keyof Ports | undefined;
  const taken = <Name extends keyof Ports>(name: Name): Ports[Name] => {
    last = name;
    return ports[name];
  };
  return {
    ports: {
      get inventory() {
        return taken("inventory");
      },
      get payments() {
        return taken("payments");
      },
      get carrier() {
        return taken("carrier");
      },
    },
    lastAsked: () => last,
  };
}

/** Of several errors of one attempt, the one that weighs most is told. */
function weight(error: unknown): number {
  if (error instanceof NoPlaceError) return 0;
  return error instanceof StageUnavailableError ? 1 : 2;
}
