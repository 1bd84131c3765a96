import type { AttemptMark } from "../order/event.ts";
import type { Lifecycle } from "../order/lifecycle.ts";
import { stockedLines, toDeliver, type StageRecord, type StoredOrder } from "../order/order.ts";
import {
  AlreadyUndoneError,
  NotNowError,
  serviceOfStage,
  UndecidedError,
  UndoRefusedError,
  type Ports,
  type ServiceName,
} from "../order/ports.ts";
import {
  Done,
  reject,
  Rejection,
  Snooze,
  Wait,
  type Outcome,
  type Stage,
  type StageContext,
  type Step,
} from "../order/stage.ts";
import { timestamp } from "../platform/clock.ts";
import { untilAborted } from "../platform/time-limit.ts";
import type { CrashPoint } from "./crash-points.ts";
import { isOutage, NoPlaceError, serviceOf, StageUnavailableError } from "./outage.ts";
import { checkOutcome, checkUndone } from "./outcome.ts";
import type { OrderTransition } from "./ports.ts";
import { waitedIn, waitForStock, waitOf } from "./waits.ts";

/** One stage's work, or its undo, for one order. */
export interface StageWork {
  readonly stage: Pick<Stage, "name">;
  /** The step whose job is running: the stage itself, or cancel. */
  readonly step: Pick<Step, "name">;
  readonly order: Pick<StoredOrder, "id" | "customerId">;
}

/** Circuit breakers between stages and the services they call. */
export interface Breakers {
  /**
   * Runs a stage's work for an order, or refuses to.
   *
   * @param signal the one that the work passes to the ports
   * @throws {StageUnavailableError} {@link NoPlaceError} and whatever `work` throws.
   */
  run<T>(of: StageWork, signal: AbortSignal, work: () => Promise<T>): Promise<T>;
}

/** Lets every call through. */
const NO_BREAKERS: Breakers = { run: (_of, _signal, work) => work() };

/** One attempt at a step: when it has to end, and what identifies it in the event log. */
export interface Attempt {
  readonly step: Step;
  readonly signal: AbortSignal;
  readonly mark: AttemptMark | undefined;
}

/** What running a stage came to. */
export interface Ran {
  readonly outcome: Exclude<Outcome, Done> | AlreadyUndoneError;
  readonly stock?: OrderTransition["stock"];
  readonly payment?: OrderTransition["payment"];
  readonly shipment?: OrderTransition["shipment"];
}

/** Runs stages, and undoes them: what they do outside, through breakers. What comes of it for the order is the executor's. */
export class StageRunner {
  readonly #lifecycle: Lifecycle;
  readonly #ports: Ports;
  readonly #breakers: Breakers;
  readonly #crashHook: ((point: CrashPoint, step: string) => void) | undefined;

  constructor(options: {
    readonly lifecycle: Lifecycle;
    readonly ports: Ports;
    readonly breakers?: Breakers | undefined;
    readonly crashHook?: ((point: CrashPoint, step: string) => void) | undefined;
  }) {
    this.#lifecycle = options.lifecycle;
    this.#ports = options.ports;
    this.#breakers = options.breakers ?? NO_BREAKERS;
    this.#crashHook = options.crashHook;
  }

  /** @returns what the stage says, and the stock to move with the order's status. */
  run(order: StoredOrder, stage: Stage, attempt: Attempt): Promise<Ran> {
    const { signal } = attempt;
    return this.#outside({ stage, step: stage, order }, signal, async (ports) => {
      const context = this.#context(order, stage, ports, attempt);
      const run = async () => checkOutcome(await stage.run(order, context), stage.name);
      const ran = await run().catch((error: unknown) =>
        error instanceof UndecidedError ? waitOf(error) : alreadyUndone(error),
      );
      const [outcome, alongside] = ran instanceof Done ? [ran.record, ran.alongside] : [ran, {}];
      const { payment, shipment } = alongside;
      const stocked = stockedLines(toDeliver(order.lines));
      if (stage.stock === undefined || stocked.length === 0 || !isRecord(outcome))
        return { outcome, payment, shipment };
      const { key, lines } = alongside.stock ?? { key: context.runKey, lines: stocked };
      const request = { key, orderId: order.id, lines, signal };
      const moved = await ports.inventory.move(stage.stock, request).catch(alreadyUndone);
      const orWait = stage.stock === "reserve" && order.whenSoldOut === "wait";
      if (moved === "at commit")
        return {
          outcome,
          payment,
          shipment,
          stock: { operation: stage.stock, lines, ...(orWait && { orWait }) },
        };
      if (moved === "moved") return { outcome, payment, shipment };
      // Whose stock it is does not tell when more arrives: it is asked again every few minutes.
      if (orWait && !(moved instanceof AlreadyUndoneError)) return { outcome: waitForStock() };
      return { outcome: moved instanceof AlreadyUndoneError ? moved : reject(moved.reject), shipment };
    });
  }

  /** Calls outside services: through their breakers, and only until the signal aborts. */
  async #outside<T>(of: StageWork, signal: AbortSignal, work: (ports: Ports) => Promise<T>): Promise<T> {
    const { ports, lastAsked } = observed(this.#ports, of.stage.name);
    try {
      return await this.#breakers.run(of, signal, () => untilAborted(signal, () => work(ports)));
    } catch (error) {
      if (!isOutage(error)) throw error;
      // If the attempt timed out, the port it used last is to blame.
      const service = serviceOf(error) ?? lastAsked();
      throw new StageUnavailableError(of.stage, { cause: error, order: of.order, service });
    }
  }

  /**
   * Undoes every stage it can, even when one fails: stock need not wait for a payment provider. But nothing is undone
   * before a stage whose work stands. The order stays uncancelled until all are undone.
   *
   * @throws the first error; unavailable services, and what only has to wait, rank last.
   */
  async undoAll(order: StoredOrder, attempt: Attempt): Promise<StageRecord> {
    const record: Record<string, StageRecord[string]> = {};
    const errors: unknown[] = [];
    for (const stage of this.#lifecycle.toUndo(order.status)) {
      try {
        this.#crashHook?.("before undo", stage.name);
        const undone = await this.undo(order, stage, attempt);
        this.#crashHook?.("after undo", stage.name);
        for (const [name, value] of Object.entries(undone ?? {})) record[`${stage.name}.${name}`] = value;
      } catch (error) {
        if (attempt.signal.aborted) throw error;
        errors.push(error);
        // What it did stands, at least for now, so what came before it stays as it is, too.
        if (error instanceof UndoRefusedError || (error instanceof UndecidedError && error.stands)) break;
        if (await stage.stands?.(order, this.#context(order, stage, this.#ports, attempt))) break;
      }
    }
    if (errors.length > 0) throw errors.toSorted((a, b) => weight(b) - weight(a))[0];
    const gone = Object.keys(order.records).filter((name) => !this.#lifecycle.has(name));
    // Nobody knows any more how: the order's history says so, for people.
    if (gone.length > 0) record["notUndone"] = `no longer in the pipeline: ${gone.join(", ")}`;
    return record;
  }

  undo(order: StoredOrder, stage: Stage, attempt: Attempt): Promise<StageRecord | undefined> {
    const { step, signal } = attempt;
    return this.#outside({ stage, step, order }, signal, async (ports) =>
      checkUndone(await stage.undo?.(order, this.#context(order, stage, ports, attempt)), stage.name),
    );
  }

  #context(order: StoredOrder, stage: Stage, ports: Ports, { signal, mark }: Attempt): StageContext {
    const runKey = `${order.id}:${stage.name}`;
    const undoKey = `${runKey}:undo`;
    return {
      ports,
      runKey,
      undoKey,
      attempt: mark?.attempt ?? 1,
      now: timestamp(),
      waited: waitedIn(stage, order),
      signal,
    };
  }
}

function isRecord(outcome: Ran["outcome"]): outcome is StageRecord {
  return !(
    outcome instanceof Rejection ||
    outcome instanceof Snooze ||
    outcome instanceof Wait ||
    outcome instanceof AlreadyUndoneError
  );
}

/** The ports, recording which was used last. */
function observed(ports: Ports, stage: string): { ports: Ports; lastAsked: () => ServiceName | undefined } {
  let last: ServiceName | undefined;
  const taken = <Name extends Exclude<keyof Ports, "httpStages">>(name: Name): Ports[Name] => {
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
      get httpStages() {
        last = serviceOfStage(stage);
        return ports.httpStages;
      },
    },
    lastAsked: () => last,
  };
}

/** @throws any other error. */
function alreadyUndone(error: unknown): AlreadyUndoneError {
  if (error instanceof AlreadyUndoneError) return error;
  throw error;
}

/** The heaviest of an attempt's errors is the one reported. */
function weight(error: unknown): number {
  if (error instanceof NoPlaceError || error instanceof NotNowError) return 0;
  return error instanceof StageUnavailableError ? 1 : 2;
}
