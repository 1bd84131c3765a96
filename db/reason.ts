import { LIMITS } from "../src/order/limits.ts";

/** Makes a reason fit its column: truncates it, without splitting a character, and replaces halves of characters. */
export function shortened(reason: string): string {
  const text = reason.toWellFormed();
  const characters = Array.from(text);
  return characters.length <= LIMITS.reason ? text : `${characters.slice(0, LIMITS.reason - 1).join("")}…`;
}
