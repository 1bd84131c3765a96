import type { Hold, StoredOrder } from "../order/order.ts";
import type { UndecidedError } from "../order/ports.ts";
import { Wait, type StageContext, type Step } from "../order/stage.ts";
import { nowMs, timestamp } from "../platform/clock.ts";

/* What an order waits for, in words. */

/** A wait for somebody who has yet to decide. */
export function waitOf({ waitsFor, waitMs }: UndecidedError): Wait {
  return new Wait({ for: waitsFor, until: new Date(nowMs() + waitMs) });
}

/** Names the first few SKUs: an order may have thousands. */
export function waitForStock(soldOut: readonly string[] = []): Wait {
  const shown = soldOut.slice(0, 5).join(", ");
  const more = soldOut.length > 5 ? ` and ${soldOut.length - 5} more` : "";
  return new Wait({ for: shown === "" ? "stock" : `stock of ${shown}${more}`, until: null });
}

export function waitForRelease({ name }: Hold): Wait {
  return new Wait({ for: `release of the hold ${name}`, until: null });
}

/** What an order has waited for in a step, if that asked it to. */
export function waitedIn(
  { name }: Step,
  { waiting, wokenAt }: StoredOrder,
  at: Date = timestamp(),
): StageContext["waited"] {
  if (waiting?.stage !== name) return null;
  const { stage: _stage, ...wait } = waiting;
  // The executor's own waits, for a hold or for stock, are none of the stage's.
  if (wait.until === null) return null;
  return { ...wait, isOver: wait.until <= at, ...(wokenAt !== null && { isWoken: true }) };
}
