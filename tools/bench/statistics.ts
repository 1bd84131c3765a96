import { Failure } from "../shared/failure.ts";

/** Repeated measurements of one thing. */
export interface Spread {
  readonly median: number;
  readonly least: number;
  readonly most: number;
  /** In the order they were measured. */
  readonly values: readonly number[];
}

/** @throws {Failure} if there is no value, or one is not a finite number */
export function spreadOf(values: readonly number[]): Spread {
  const sorted = values.toSorted((a, b) => a - b);
  const [least] = sorted;
  const most = sorted.at(-1);
  if (least === undefined || most === undefined || !sorted.every((value) => Number.isFinite(value)))
    throw new Failure(`no measurement (${values.join(", ")}): is this machine busy with something else?`);
  return { median: medianOf(sorted), least, most, values };
}

/** The spread; null if a value is unknown (NaN). @throws {Failure} if there is no value */
export function spreadIfKnown(values: readonly number[]): Spread | null {
  return values.some((value) => Number.isNaN(value)) ? null : spreadOf(values);
}

/**
 * The ratio of each pair of measurements taken side by side, so that a slowdown of both cancels out.
 *
 * @throws {Error} if the numbers of values differ
 */
export function ratioOf(over: Spread, under: Spread): Spread {
  if (over.values.length !== under.values.length)
    throw new Error(`${over.values.length} and ${under.values.length} values don't form pairs`);
  return spreadOf(over.values.map((value, index) => value / (under.values[index] ?? Number.NaN)));
}

function medianOf(sorted: readonly number[]): number {
  const middle = sorted.length / 2;
  const above = sorted[Math.floor(middle)] ?? Number.NaN;
  const below = sorted[Math.ceil(middle) - 1] ?? Number.NaN;
  return (above + below) / 2;
}
