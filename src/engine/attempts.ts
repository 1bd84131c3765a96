import type { AttemptMark } from "../order/event.ts";
import { CANCELLED } from "../order/lifecycle.ts";
import type { StageSettings, Step } from "../order/stage.ts";
import type { Logger } from "../platform/log.ts";
import { withinTime } from "../platform/time-limit.ts";
import type { FailedCall, Verdict } from "./breaker.ts";
import type { Execution, Executor } from "./executor.ts";
import { failureOf, type Failure } from "./failure.ts";
import type { AttemptObserver, AttemptOutcome } from "./metrics.ts";
import { NoPlaceError } from "./outage.ts";
import type { SuspectPlaces } from "./suspects.ts";

/** Delay of an order whose attempt found MySQL or Redis away, in milliseconds. */
export const AWAY_DELAY_MS = 1_000;
/**
 * Delay of an order whose rows were locked, in milliseconds: the first, and the maximum. It doubles each time, so that
 * many orders that want one locked row leave room for others.
 */
const FIRST_BUSY_DELAY_MS = 250;
const LONGEST_BUSY_DELAY_MS = 4_000;

/** Reasons to abort an attempt that do not count as a failure. */
export const SHUTDOWN = "the worker is shutting down";
export const LOCK_LOST = "the job's lock was lost";

/** Outages that use up no attempt. */
export interface Outages {
  /** MySQL is away. @param how "MySQL takes no writes". @param error the error text. */
  databaseAway(how: string, error: string): void;
  /** Redis is unreachable, or takes no writes. */
  redisAway(): void;
  /** Decides whether the service or the order is to blame. */
  judge(stage: string, call: FailedCall): Promise<Verdict>;
  /** Delay of an order whose stage is held, in milliseconds. */
  readonly probeIntervalMs: number;
}

/** One attempt of one order at a step. */
export interface Attempt {
  readonly orderId: string;
  /** 1 for the first one. */
  readonly number: number;
  readonly startedAt: Date;
  /** Whether the order needs an operator when this one fails. */
  readonly isLast: boolean;
  readonly isSuspect: boolean;
  /** Whether a process died while it worked on the order. */
  readonly hasCrashed: boolean;
  /** How often in a row the order was postponed because its service failed all orders. */
  readonly putOffs: number;
  /** How often the order was postponed since its last failed attempt. */
  readonly waits: number;
}

/** How an attempt ended, and what happens to the order. */
export type Ending =
  | { readonly kind: "over"; readonly execution: Execution }
  | {
      readonly kind: "put off";
      readonly cause: "snoozed" | Failure["kind"];
      readonly message?: string;
      readonly waitMs: number;
      /** Whether the order waits at least until the next turn of a suspect. */
      readonly needsTurn?: boolean;
      /** What the attempt has shown about the order. */
      readonly known?: Known | undefined;
    }
  | { readonly kind: "failed"; readonly failure: Failure; readonly error: unknown }
  /** Aborted from outside, with the signal's reason. */
  | { readonly kind: "interrupted"; readonly reason: unknown; readonly error: unknown };

/** What an attempt has shown about an order; its job carries it from then on. */
export type Known =
  /** The service fails all orders. */
  | { readonly suspect: true; readonly putOffs: number }
  /** The service has served the order after this many failed attempts, which no longer count. */
  | { readonly goodAtAttempt: number };

/** Runs attempts outside of this process. */
export interface Isolated {
  attempt(
    request: {
      readonly orderId: string;
      readonly step: string;
      readonly timeoutMs: number;
      readonly attempt: number;
      /** Milliseconds since 1970. */
      readonly startedAt: number;
    },
    interrupted: AbortSignal | undefined,
  ): Promise<Execution>;
}

export interface AttemptsOptions {
  readonly step: Step;
  readonly settings: StageSettings;
  readonly executor: Pick<Executor, "execute">;
  /** Runs attempts of orders whose worker died. */
  readonly isolation?: Isolated | undefined;
  readonly outages: Outages;
  readonly observer?: AttemptObserver | undefined;
  readonly log: Logger;
}

/** Runs attempts at one step, and decides what happens to their orders. */
export class Attempts {
  readonly #options: AttemptsOptions;
  readonly #suspects: SuspectPlaces | undefined;

  /** @param suspects the places of suspected orders; undefined if they are limited elsewhere. */
  constructor(options: AttemptsOptions, suspects?: SuspectPlaces) {
    this.#options = options;
    this.#suspects = suspects;
  }

  /** Never throws. @param interrupted aborts the attempt, because of {@link SHUTDOWN} or {@link LOCK_LOST}. */
  async make(attempt: Attempt, interrupted: AbortSignal | undefined): Promise<Ending> {
    const { observer, log, settings } = this.#options;
    const startedAt = performance.now();
    const ended = (outcome: AttemptOutcome) =>
      observer?.ended(outcome, (performance.now() - startedAt) / 1_000);
    try {
      const execution = await this.#execute(attempt, interrupted);
      ended(execution.outcome);
      if (execution.outcome === "cancelled") observer?.reached(attempt.orderId, CANCELLED);
      if (execution.outcome === "done") observer?.reached(attempt.orderId, execution.status);
      log.info({ ...this.fields(attempt, startedAt), ...fieldsOf(execution) }, execution.outcome);
      if (execution.outcome !== "snoozed") return { kind: "over", execution };
      // Earlier failures no longer count: the service has just served the order.
      const known = attempt.isSuspect ? { goodAtAttempt: attempt.number - 1 } : undefined;
      return { kind: "put off", cause: "snoozed", waitMs: execution.milliseconds, known };
    } catch (error) {
      if (interrupted?.reason === SHUTDOWN || interrupted?.reason === LOCK_LOST) {
        ended("handed back");
        return { kind: "interrupted", reason: interrupted.reason, error };
      }
      const failure = failureOf(error, { timeoutMs: settings.timeout });
      const wait = await this.#delayFor(failure, attempt, startedAt);
      if (wait === undefined) {
        const isLast = failure.kind === "permanent" || attempt.isLast;
        ended(isLast ? "failed" : "retried");
        if (!isLast) observer?.retried(failure.kind);
        return { kind: "failed", failure, error };
      }
      ended("put off");
      observer?.retried(failure.kind);
      log.debug({ ...this.fields(attempt, startedAt), error: failure.message }, failure.kind);
      const needsTurn = failure.kind === "no place" || attempt.isSuspect;
      return { kind: "put off", cause: failure.kind, message: failure.message, ...wait, needsTurn };
    } finally {
      this.#suspects?.leave(attempt.orderId);
    }
  }

  /** The log fields of an attempt. @param startedAt from `performance.now()`. */
  fields({ orderId, number }: Pick<Attempt, "orderId" | "number">, startedAt: number) {
    return {
      orderId,
      stage: this.#options.step.name,
      attempt: number,
      ms: Math.round(performance.now() - startedAt),
    };
  }

  async #execute(attempt: Attempt, interrupted: AbortSignal | undefined): Promise<Execution> {
    const { executor, isolation, step, settings } = this.#options;
    const { orderId, startedAt, isSuspect, hasCrashed } = attempt;
    if (isSuspect && this.#suspects?.take(orderId) === false) throw new NoPlaceError();
    const mark = markOf(attempt);
    if (hasCrashed && isolation) {
      const request = { orderId, step: step.name, timeoutMs: settings.timeout };
      return isolation.attempt({ ...request, ...mark, startedAt: startedAt.getTime() }, interrupted);
    }
    return withinTime(settings.timeout, interrupted, (signal) =>
      executor.execute(orderId, step, signal, mark),
    );
  }

  /** The delay if no attempt is used up; undefined if the attempt failed. */
  async #delayFor(
    failure: Failure,
    attempt: Attempt,
    startedAt: number,
  ): Promise<Pick<Ending & { kind: "put off" }, "waitMs" | "known"> | undefined> {
    const { outages } = this.#options;
    switch (failure.kind) {
      case "database away":
        outages.databaseAway(failure.how, failure.message);
        return { waitMs: AWAY_DELAY_MS };
      case "database busy":
        return { waitMs: Math.min(FIRST_BUSY_DELAY_MS * 2 ** attempt.waits, LONGEST_BUSY_DELAY_MS) };
      case "redis away":
        outages.redisAway();
        return { waitMs: AWAY_DELAY_MS };
      case "no place":
        return { waitMs: this.#suspects?.nextTurn() ?? outages.probeIntervalMs };
      case "not now":
        return { waitMs: failure.waitMs };
      case "service away":
        return failure.tried ? this.#judge(failure, attempt, startedAt) : { waitMs: outages.probeIntervalMs };
      case "failed":
      case "permanent":
        return undefined;
    }
  }

  async #judge(
    { stage, service, customerId, timedOut, misconfigured, message }: Failure & { kind: "service away" },
    { orderId, isSuspect, putOffs }: Attempt,
    startedAt: number,
  ): Promise<Pick<Ending & { kind: "put off" }, "waitMs" | "known"> | undefined> {
    const verdict = await this.#options.outages.judge(stage, {
      orderId,
      customerId,
      service,
      timedOut,
      misconfigured: misconfigured ? message : undefined,
      startedAt,
      isSuspect,
      delays: putOffs,
    });
    if (verdict.cause === "order") return undefined;
    if (verdict.cause !== "failing") return { waitMs: verdict.waitMs };
    return { waitMs: verdict.waitMs, known: { suspect: true, putOffs: putOffs + 1 } };
  }
}

/** Identifies an attempt in the event log. */
export function markOf({ number, startedAt }: Pick<Attempt, "number" | "startedAt">): AttemptMark {
  return { attempt: number, startedAt };
}

/** The log fields of an execution. */
function fieldsOf(execution: Execution): object {
  if (execution.outcome !== "done" && execution.outcome !== "not due") return execution;
  const { next, ...rest } = execution;
  return rest;
}
