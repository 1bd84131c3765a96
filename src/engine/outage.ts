import type { Order } from "../order/order.ts";
import { ServiceMisconfiguredError, ServiceUnavailableError, type ServiceName } from "../order/ports.ts";
import type { Stage } from "../order/stage.ts";
import { isTimeout } from "../platform/time-limit.ts";

/** Why a stage could not do its work. */
type Unavailability =
  /** The service was not called. */
  | { readonly message: string }
  /** The service was called for this order. */
  | {
      readonly cause: Error;
      readonly order: Pick<Order, "customerId">;
      /** The service that failed; undefined if unknown. */
      readonly service: ServiceName | undefined;
    };

/** A stage could not do its work because a service it needs is unavailable. */
export class StageUnavailableError extends Error {
  override name = "StageUnavailableError";
  /** The stage whose work it was. During a cancellation, the stage being undone. */
  readonly stage: string;
  /** Whether the service was called. */
  readonly tried: boolean;
  readonly service: ServiceName | undefined;
  readonly customerId: string | undefined;
  /** Whether the service gave no answer in time. */
  readonly timedOut: boolean;
  /** Whether the service answered, but is not set up right. */
  readonly misconfigured: boolean;
  constructor(stage: Pick<Stage, "name">, given: Unavailability) {
    super("cause" in given ? given.cause.message : given.message, "cause" in given ? given : undefined);
    this.stage = stage.name;
    this.tried = "cause" in given;
    this.service = "cause" in given ? given.service : undefined;
    this.customerId = "cause" in given ? given.order.customerId : undefined;
    this.timedOut = "cause" in given && (isTimeout(given.cause) || isTimeout(given.cause.cause));
    this.misconfigured = "cause" in given && given.cause instanceof ServiceMisconfiguredError;
  }
}

/** The order is a suspect, and all of the suspects' places in the step are in use. */
export class NoPlaceError extends Error {
  override name = "NoPlaceError";
  constructor() {
    super("all places for suspected orders are in use");
  }
}

/** Whether the error means that a service is unavailable: it says so, or the attempt timed out on it. */
export function isOutage(error: unknown): error is Error {
  return error instanceof ServiceUnavailableError || isTimeout(error);
}

/** The unavailable service; undefined if unknown. */
export function serviceOf(error: Error): ServiceName | undefined {
  return error instanceof ServiceUnavailableError ? error.service : undefined;
}
