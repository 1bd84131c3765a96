import { LIMITS } from "../src/order/limits.ts";

/** Cuts a reason to its column by characters, not in the middle of one. */
export function shortened(reason: string): string {
  const characters = Array.from(reason);
  return characters.length <= LIMITS.reason ? reason : `${characters.slice(0, LIMITS.reason - 1).join("")}…`;
}
