import type { Order, StageRecord } from "./order.ts";
import type { Ports } from "./ports.ts";

/**
 * One step of an order's way, in one file. A stage does its work and says how it ended; it never writes a status, and
 * it does not know which stage comes before or after it.
 */
export interface Stage<Name extends string = string, To extends string = string> {
  /** Names the stage's queue, and its part of every idempotency key. Lower case, digits and dashes. */
  readonly name: Name;
  /** The status that an order has when this stage is done. Upper case, digits and underscores. */
  readonly to: To;
  /**
   * Does the work. May run more than once for one order, also at the same time in two processes: every effect must go
   * through a port, under `context.key`.
   *
   * It ends in one of four ways: it returns a record (done), `reject(...)` (the business says no: the order is
   * cancelled and never retried), `snooze(...)` (not yet: asked again later, and no attempt is used up), or it throws
   * (something broke: retried with backoff).
   */
  run(order: Order, context: StageContext): Promise<Outcome>;
  /**
   * Takes the work back when the order is cancelled. It is also called for a stage that was started and not finished,
   * and may be called again after a crash: with nothing to take back it must do nothing.
   */
  undo?(order: Order, context: StageContext): Promise<StageRecord | undefined>;
  /** Once this stage is done, the order can no longer be cancelled. */
  readonly pointOfNoReturn?: true;
  /** Where the stage differs from {@link DEFAULT_SETTINGS}. */
  readonly settings?: Partial<StageSettings>;
}

/** What has a queue and workers of its own: a stage, or the undoing of those that are done. */
export type Step = Pick<Stage, "name" | "settings">;

export interface StageContext {
  readonly ports: Ports;
  /** `<orderId>:<stage>`, the idempotency key for what `run` does outside. */
  readonly runKey: string;
  /** `<orderId>:<stage>:undo`, the same for `undo`. */
  readonly undoKey: string;
  /** Aborted when the stage's time is up or the process shuts down. */
  readonly signal: AbortSignal;
}

export interface StageSettings {
  /** Orders that one worker process has in this stage at the same moment. */
  readonly concurrency: number;
  /** How often the stage is tried before the order needs a person. */
  readonly attempts: number;
  /** The n-th retry waits up to 2^(n-1) x `delay` milliseconds; `jitter` (0 to 1) is the part of it left to chance. */
  readonly backoff: { readonly delay: number; readonly jitter: number };
  /** Milliseconds that one attempt may take, not counting the time that it waits for MySQL. */
  readonly timeout: number;
  /** At most `max` orders per `duration` milliseconds over all workers. */
  readonly rateLimit?: { readonly max: number; readonly duration: number };
  /** Milliseconds after an order's creation by which it must have done the stage: otherwise it is cancelled. */
  readonly deadline?: number;
}

/** Ten attempts take about four minutes: a service that answers and often fails gets over it by then, more often than not. */
export const DEFAULT_SETTINGS: StageSettings = {
  concurrency: 50,
  attempts: 10,
  backoff: { delay: 500, jitter: 0.5 },
  timeout: 10_000,
};

/** The step's settings over the defaults, with an operator's overrides over both. */
export function settingsOf(step: Step, overrides: Partial<StageSettings> = {}): StageSettings {
  return { ...DEFAULT_SETTINGS, ...step.settings, ...overrides };
}

/** The business says no. */
export class Rejection {
  /** One line for the customer service: no personal data. */
  readonly reason: string;
  constructor(reason: string) {
    this.reason = reason;
  }
}

/** Not yet. */
export class Snooze {
  readonly milliseconds: number;
  constructor(milliseconds: number) {
    this.milliseconds = milliseconds;
  }
}

export type Outcome = StageRecord | Rejection | Snooze;

/** Ends a stage with a no: the order is cancelled, and what was done before is undone. */
export function reject(reason: string): Rejection {
  return new Rejection(reason);
}

/** Ends a stage for now: it runs again after so many milliseconds, with all its attempts left. */
export function snooze(milliseconds: number): Snooze {
  return new Snooze(milliseconds);
}

/** Declares a stage, keeping its name and status as literal types, from which the order's statuses derive. */
export function defineStage<const Name extends string, const To extends string>(
  stage: Stage<Name, To>,
): Stage<Name, To> {
  return stage;
}
