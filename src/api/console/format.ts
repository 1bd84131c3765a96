import type { BoundedCount } from "../../engine/ports.ts";
import { html, type Html } from "./html.ts";
import { nowMs } from "../../platform/clock.ts";

/* Formats numbers, times and durations. */

const NUMBERS = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });

/** A dash that screen readers announce as "not known". */
export const UNKNOWN: Html = html`<span class="muted" aria-label="not known">–</span>`;

export function number(value: number): string {
  return NUMBERS.format(value);
}

/** A count that stopped at a limit: "1,000+". */
export function bounded({ count, more }: BoundedCount): string {
  return `${number(count)}${more ? "+" : ""}`;
}

/** "1 order", "2 orders". */
export function counted(count: number | string, one: string, many = `${one}s`): string {
  return `${typeof count === "number" ? number(count) : count} ${count === 1 || count === "1" ? one : many}`;
}

const UNITS = [
  { name: "d", milliseconds: 86_400_000 },
  { name: "h", milliseconds: 3_600_000 },
  { name: "min", milliseconds: 60_000 },
  { name: "s", milliseconds: 1_000 },
] as const;

/** Formats milliseconds in the two largest units: "340 ms", "4.2 s", "3 min 20 s", "2 d 4 h". */
export function duration(milliseconds: number): string {
  const whole = Math.max(0, Math.round(milliseconds));
  if (whole < 1_000) return `${whole} ms`;
  if (whole < 60_000) return `${number(whole / 1_000)} s`;
  const index = UNITS.findIndex((unit) => whole >= unit.milliseconds);
  const large = UNITS[index];
  const small = UNITS[index + 1];
  if (large === undefined || small === undefined) return `${whole} ms`;
  const rest = Math.floor((whole % large.milliseconds) / small.milliseconds);
  const first = `${Math.floor(whole / large.milliseconds)} ${large.name}`;
  return rest === 0 ? first : `${first} ${rest} ${small.name}`;
}

/** Formats a time in UTC, to the second; the title has the milliseconds. */
export function moment(at: Date): Html {
  const text = at.toISOString();
  const shown = `${text.slice(0, 10)} ${text.slice(11, 19)} UTC`;
  return html`<time datetime="${text}" title="${text}">${shown}</time>`;
}

/** How long ago: in seconds within the first minute, then in minutes. */
export function ago(at: Date, now = nowMs()): Html {
  const text = at.toISOString();
  const since = now - at.getTime();
  const shown = since < 60_000 ? roughly(since) : Math.floor(since / 60_000) * 60_000;
  return html`<time datetime="${text}" title="${text}">${duration(shown)} ago</time>`;
}

/** Rounds down to whole seconds, so that a live page does not change with every refresh. */
export function roughly(milliseconds: number): number {
  return milliseconds < 1_000 ? Math.max(0, milliseconds) : Math.floor(milliseconds / 1_000) * 1_000;
}
