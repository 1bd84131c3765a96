import { UnknownStatusError } from "../order/lifecycle.ts";
import { NotNowError, type ServiceName } from "../order/ports.ts";
import { StorageError } from "../platform/storage-error.ts";
import { isTimeout } from "../platform/time-limit.ts";
import { NoPlaceError, StageUnavailableError } from "./outage.ts";
import { DispatcherUnavailableError } from "./ports.ts";

/**
 * Why an attempt failed, which decides what happens to its job. Plain data, because it may come from another process.
 */
export type Failure =
  /** An outage: the job waits, and no attempt is used up. */
  | { readonly kind: "database busy" | "redis away"; readonly message: string }
  | {
      readonly kind: "database away";
      readonly message: string;
      /** "MySQL takes no writes" */
      readonly how: string;
    }
  /** The suspects' places are in use: the job waits, and no attempt is used up. */
  | { readonly kind: "no place"; readonly message: string }
  /** A service asks to be called again later: the job waits, and no attempt is used up. */
  | { readonly kind: "not now"; readonly message: string; readonly waitMs: number }
  /** The stage's breaker decides whether the service or the order is to blame. */
  | {
      readonly kind: "service away";
      readonly message: string;
      /** The stage whose work needed the service. */
      readonly stage: string;
      /** Whether the service was called. */
      readonly tried: boolean;
      /** The service and the order's customer; undefined if unknown. */
      readonly service?: ServiceName | undefined;
      readonly customerId?: string | undefined;
      /** Whether the service gave no answer in time. */
      readonly timedOut: boolean;
      /** Whether the service answered, but is not set up right. */
      readonly misconfigured: boolean;
    }
  /** Retried with backoff, up to the step's limit of attempts. */
  | { readonly kind: "failed"; readonly message: string }
  /** Not retried: it would fail again. */
  | { readonly kind: "permanent"; readonly message: string };

/** Carries a failure whose original error is not available. */
export class FailedAttemptError extends Error {
  override name = "FailedAttemptError";
  readonly failure: Failure;
  constructor(failure: Failure, options?: ErrorOptions) {
    super(failure.message, options);
    this.failure = failure;
  }
}

/** How long an order waits that is left to workers with another pipeline, in milliseconds. */
export const LEFT_MS = 1_000;

/** Classifies an attempt's error. */
export function failureOf(error: unknown, { timeoutMs }: { readonly timeoutMs: number }): Failure {
  if (error instanceof FailedAttemptError) return error.failure;
  const message = messageOf(error, timeoutMs);
  if (error instanceof StageUnavailableError) {
    const { stage, tried, service, customerId, timedOut, misconfigured } = error;
    return { kind: "service away", message, stage, tried, service, customerId, timedOut, misconfigured };
  }
  if (error instanceof NoPlaceError) return { kind: "no place", message };
  // Of a newer pipeline, whose workers take the order.
  if (error instanceof UnknownStatusError) return { kind: "not now", message, waitMs: LEFT_MS };
  if (error instanceof NotNowError) return { kind: "not now", message, waitMs: error.waitMs };
  if (error instanceof StorageError && error.kind === "away")
    return { kind: "database away", message, how: error.how };
  if (error instanceof StorageError && error.kind === "contended") return { kind: "database busy", message };
  if (error instanceof DispatcherUnavailableError) return { kind: "redis away", message };
  if (error instanceof Error && PERMANENT.has(error.name)) return { kind: "permanent", message };
  return { kind: "failed", message };
}

function messageOf(error: unknown, timeoutMs: number): string {
  if (!(error instanceof Error)) return String(error);
  return isTimeout(error) || isTimeout(error.cause) ? `took longer than ${timeoutMs} ms` : error.message;
}

const PERMANENT = new Set([
  "OrderNotFoundError",
  "TooLateToRejectError",
  "RequestRefusedError",
  "AlreadyUndoneError",
]);
