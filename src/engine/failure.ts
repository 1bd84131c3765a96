import type { Ports } from "../order/ports.ts";
import { StorageError } from "../platform/storage-error.ts";
import { isTimeout, NoPlaceError, StageUnavailableError } from "./outage.ts";
import { DispatcherUnavailableError } from "./ports.ts";

/** Why an attempt did not end well, and by that what becomes of its job. Plain data: it may come from another process. */
export type Failure =
  /** Nobody's fault: the job waits, and uses up no attempt. */
  | { readonly kind: "database busy" | "redis away"; readonly message: string }
  | {
      readonly kind: "database away";
      readonly message: string;
      /** "MySQL takes no writes" */
      readonly how: string;
    }
  /** The order is suspected, and suspects have no place left: the job waits, and uses up no attempt. */
  | { readonly kind: "no place"; readonly message: string }
  /** Whose fault it is, the stage's breaker tells. */
  | {
      readonly kind: "service away";
      readonly message: string;
      /** Whose work needed the service. */
      readonly stage: string;
      /** Whether the service was asked. */
      readonly tried: boolean;
      /** What did not answer, and for whom; undefined when it is not known. */
      readonly service?: keyof Ports | undefined;
      readonly customerId?: string | undefined;
    }
  /** Retried with backoff, as often as the step may be. */
  | { readonly kind: "failed"; readonly message: string }
  /** No retry will help. */
  | { readonly kind: "hopeless"; readonly message: string };

/** Carries a failure whose own error is lost, or of no use. */
export class FailedAttemptError extends Error {
  override name = "FailedAttemptError";
  readonly failure: Failure;
  constructor(failure: Failure, options?: ErrorOptions) {
    super(failure.message, options);
    this.failure = failure;
  }
}

/** What an error says of an attempt. */
export function failureOf(error: unknown, { timeoutMs }: { readonly timeoutMs: number }): Failure {
  if (error instanceof FailedAttemptError) return error.failure;
  const message = messageOf(error, timeoutMs);
  if (error instanceof StageUnavailableError) {
    const { stage, tried, service, customerId } = error;
    return { kind: "service away", message, stage, tried, service, customerId };
  }
  if (error instanceof NoPlaceError) return { kind: "no place", message };
  if (error instanceof StorageError && error.kind === "away")
    return { kind: "database away", message, how: error.how };
  if (error instanceof StorageError && error.kind === "contended") return { kind: "database busy", message };
  if (error instanceof DispatcherUnavailableError) return { kind: "redis away", message };
  if (error instanceof Error && HOPELESS.has(error.name)) return { kind: "hopeless", message };
  return { kind: "failed", message };
}

function messageOf(error: unknown, timeoutMs: number): string {
  if (!(error instanceof Error)) return String(error);
  return isTimeout(error) || isTimeout(error.cause) ? `took longer than ${timeoutMs} ms` : error.message;
}

const HOPELESS = new Set(["OrderNotFoundError", "TooLateToRejectError"]);
