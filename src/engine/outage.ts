import { ServiceUnavailableError, type Ports } from "../order/ports.ts";
import type { Stage } from "../order/stage.ts";

/** A stage's work could not be done since a service that it needs is away: no fault of the order's. */
export class StageUnavailableError extends Error {
  override name = "StageUnavailableError";
  /** Whose work it was. While undoing, not the step that the job belongs to. */
  readonly stage: string;
  /** Whether the service was asked. */
  readonly tried: boolean;
  constructor(stage: Pick<Stage, "name">, given: { readonly message: string } | { readonly cause: Error }) {
    super("cause" in given ? given.cause.message : given.message, "cause" in given ? given : undefined);
    this.stage = stage.name;
    this.tried = "cause" in given;
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
