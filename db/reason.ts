import { LIMITS } from "../src/order/limits.ts";

/** Truncates a reason to its column's length, without splitting a character. */
export function shortened(reason: string): string {
  const characters = Array.from(reason);
  return characters.length <= LIMITS.reason ? reason : `${characters.slice(0, LIMITS.reason - 1).join("")}…`;
}
