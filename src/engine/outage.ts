import type { Order } from "../order/order.ts";
import { ServiceUnavailableError, type Ports } from "../order/ports.ts";
import type { Stage } from "../order/stage.ts";

/** Why a stage's work could not be done. */
type Unavailability =
  /** Nobody was asked. */
  | { readonly message: string }
  /** The service was asked, for this order. */
  | {
      readonly cause: Error;
      readonly order: Pick<Order, "customerId">;
      /** What did not answer, as far as that is known. */
      readonly service: keyof Ports | undefined;
    };

/** A stage's work could not be done since a service that it needs did not do its part. */
export class StageUnavailableError extends Error {
  override name = "StageUnavailableError";
  /** Whose work it was. While undoing, not the step that the job belongs to. */
  readonly stage: string;
  /** Whether the service was asked. */
  readonly tried: boolean;
  readonly service: keyof Ports | undefined;
  readonly customerId: string | undefined;
  constructor(stage: Pick<Stage, "name">, given: Unavailability) {
    super("cause" in given ? given.cause.message : given.message, "cause" in given ? given : undefined);
    this.stage = stage.name;
    this.tried = "cause" in given;
    this.service = "cause" in given ? given.service : undefined;
    this.customerId = "cause" in given ? given.order.customerId : undefined;
  }
}

/** An order is suspected, and as many suspects as may have a place in the step have one. */
export class NoPlaceError extends Error {
  override name = "NoPlaceError";
  constructor() {
    super("the places for suspected orders are taken");
  }
}

/** Whether an error is that of a service that is away: it says so, or the time of the attempt has run out on it. */
export function isOutage(error: unknown): error is Error {
  return error instanceof ServiceUnavailableError || isTimeout(error);
}

/** The service that is away; undefined when nobody knows which. */
export function serviceOf(error: Error): keyof Ports | undefined {
  return error instanceof ServiceUnavailableError ? error.service : undefined;
}

/** Whether an attempt was ended because its time was up. */
export function isTimeout(error: unknown): error is DOMException {
  return error instanceof DOMException && error.name === "TimeoutError";
}
