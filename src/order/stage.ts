import type { Order, OrderLine, StageRecord, WaitSoFar } from "./order.ts";
import type { PaymentChange } from "./payment.ts";
import type { Ports, StockOperation } from "./ports.ts";
import type { ShipmentChange } from "./shipment.ts";

/**
 * A stage of the pipeline, one per file. A stage does its work and returns an outcome. It never writes a status
 * and does not know which stage comes before or after it.
 */
export interface Stage<Name extends string = string, To extends string = string> {
  /** Name of the stage and its queue; part of its idempotency keys. Lower case, digits and dashes. */
  readonly name: Name;
  /** The order's status once this stage is done. Upper case, digits and underscores. */
  readonly to: To;
  /**
   * Does the work. It may run more than once for an order, even concurrently in two processes, so every effect
   * must go through a port, under `context.runKey`.
   *
   * It returns a record (done), `reject(...)` (the order is cancelled, without retries), `snooze(...)` (run again
   * later, without using up an attempt) or `wait(...)` (somebody else has to act), or it throws (retried with backoff).
   */
  run(order: Order, context: StageContext): Promise<Outcome>;
  /**
   * Undoes the work when the order is cancelled. It is also called for a stage that started but did not finish,
   * and may be called again after a crash, so it must do nothing if there is nothing to undo.
   */
  undo?(order: Order, context: StageContext): Promise<StageRecord | undefined>;
  /**
   * Whether the work is known to stand. Asked when `undo` has failed, and also while a service is away: then nothing that came
   * before is undone yet. It asks only what is written down here.
   */
  stands?(order: Order, context: StageContext): Promise<boolean>;
  /** The service that does the work, if the stage is an HTTP stage. */
  readonly http?: HttpService;
  /**
   * Moves the order's stock once `run` is done, in the same transaction as the order's status if the inventory is in this
   * database, or else through its port right before. An order whose goods are sold out is rejected; one without stocked
   * goods moves none.
   */
  readonly stock?: StockOperation;
  /** Whether the order can no longer be cancelled once this stage is done. */
  readonly pointOfNoReturn?: true;
  /** Overrides of {@link DEFAULT_SETTINGS}. */
  readonly settings?: Partial<StageSettings>;
}

/** The service of an HTTP stage. */
export interface HttpService {
  /** Where it takes POST requests. http or https. */
  readonly url: string;
  /** Signs the requests, instead of `SIGNING_SECRET`: `whsec_` and base64; two, separated by a space, while one is replaced. */
  readonly secret?: string | undefined;
}

/** Something with its own queue: a stage, or `cancel`. */
export type Step = Pick<Stage, "name" | "settings">;

export interface StageContext {
  readonly ports: Ports;
  /** `<orderId>:<stage>`, the idempotency key for the effects of `run`. */
  readonly runKey: string;
  /** `<orderId>:<stage>:undo`, the idempotency key for the effects of `undo`. */
  readonly undoKey: string;
  /** The number of the attempt at the step, from 1. */
  readonly attempt: number;
  /** When the attempt began, by MySQL's clock: a process's own may be wrong. */
  readonly now: Date;
  /** Null if it has not waited. */
  readonly waited: WaitSoFar | null;
  /** Aborted when the attempt times out or the process shuts down. */
  readonly signal: AbortSignal;
}

export interface StageSettings {
  /** Orders that one worker process runs in this stage at once. */
  readonly concurrency: number;
  /** Attempts before the order is marked as failed. */
  readonly attempts: number;
  /**
   * The n-th retry waits up to 2^(n-1) x `delay` milliseconds; `jitter` (0 to 1) is the share of it that is
   * random.
   */
  readonly backoff: { readonly delay: number; readonly jitter: number };
  /** Timeout of one attempt in milliseconds, not counting the time spent waiting for MySQL. */
  readonly timeout: number;
  /** At most `max` orders per `duration` milliseconds, over all workers. */
  readonly rateLimit?: { readonly max: number; readonly duration: number };
  /** Milliseconds after the order's creation by which the stage must be done; otherwise the order is cancelled. */
  readonly deadline?: number;
}

/** Ten attempts take about four minutes, which outlasts most spells of intermittent failures. */
export const DEFAULT_SETTINGS: StageSettings = {
  concurrency: 50,
  attempts: 10,
  backoff: { delay: 500, jitter: 0.5 },
  timeout: 10_000,
};

/** Merges the defaults, the step's own settings, and an operator's overrides. */
export function settingsOf(step: Step, overrides: Partial<StageSettings> = {}): StageSettings {
  return { ...DEFAULT_SETTINGS, ...step.settings, ...overrides };
}

/** The outcome of {@link reject}. */
export class Rejection {
  /** One line for customer service, without personal data. */
  readonly reason: string;
  constructor(reason: string) {
    this.reason = reason;
  }
}

/** The outcome of {@link snooze}. */
export class Snooze {
  readonly milliseconds: number;
  constructor(milliseconds: number) {
    this.milliseconds = milliseconds;
  }
}

/** How that begins which nobody but an operator ends, such as a lost parcel: such waits are counted apart, and alerted. */
export const OPERATOR = "an operator: ";

/** The outcome of {@link wait}. */
export class Wait {
  /** What it waits for, such as `the customer's confirmation`: one line, without personal data. */
  readonly for: string;
  readonly until: Date | null;
  constructor(given: { readonly for: string; readonly until: Date | null }) {
    this.for = given.for;
    this.until = given.until;
  }
}

/** What is written in the same transaction as the order's status. */
export interface Alongside {
  readonly payment?: PaymentChange | undefined;
  readonly shipment?: ShipmentChange | undefined;
  /** The lines whose stock moves, for a stage with `stock`, and the key of that; all of the order's, under its own, if absent. */
  readonly stock?: { readonly key: string; readonly lines: readonly OrderLine[] } | undefined;
}

/** The outcome of {@link done}. */
export class Done {
  readonly record: StageRecord;
  readonly alongside: Alongside;
  constructor(record: StageRecord, alongside: Alongside) {
    this.record = record;
    this.alongside = alongside;
  }
}

export type Outcome = StageRecord | Done | Rejection | Snooze | Wait;

/** Done, with what is to be written in the same transaction as the order's status. */
export function done(record: StageRecord, alongside: Alongside): Done {
  return new Done(record, alongside);
}

/** Rejects the order: it is cancelled, and finished stages are undone. */
export function reject(reason: string): Rejection {
  return new Rejection(reason);
}

/** Rejects an order whose goods are sold out. Names the first few SKUs: an order may have thousands. */
export function rejectSoldOut(skus: readonly string[]): Rejection {
  const shown = skus.slice(0, 5).join(", ");
  return reject(`sold out: ${skus.length > 5 ? `${shown} and ${skus.length - 5} more` : shown}`);
}

/** Runs the stage again after this many milliseconds, at most a year, with all its attempts left. */
export function snooze(milliseconds: number): Snooze {
  return new Snooze(milliseconds);
}

/**
 * Somebody else has to act: the customer confirms, the warehouse packs, goods arrive. The order waits, without a job,
 * until it is woken, and shows what for. The stage runs again then, every few minutes in case the wake was lost, and at
 * `until`, when it has to decide; all its attempts are left. It must therefore ask for the truth each time.
 */
export function wait(given: { readonly for: string; readonly until: Date }): Wait {
  return new Wait(given);
}

/** Declares a stage, keeping its name and status as literal types. */
export function defineStage<const Name extends string, const To extends string>(
  stage: Stage<Name, To>,
): Stage<Name, To> {
  return stage;
}
