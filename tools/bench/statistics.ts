import { Failure } from "../shared/failure.ts";

/** The same thing measured several times. */
export interface Spread {
  readonly median: number;
  readonly least: number;
  readonly most: number;
  /** In the order in which they were measured. */
  readonly values: readonly number[];
}

/** @throws {Failure} without a value, or with one that is no number: nothing was measured. */
export function spreadOf(values: readonly number[]): Spread {
  const sorted = values.toSorted((a, b) => a - b);
  const [least] = sorted;
  const most = sorted.at(-1);
  if (least === undefined || most === undefined || !sorted.every((value) => Number.isFinite(value)))
    throw new Failure(
      `nothing was measured (${values.join(", ")}): is this machine busy with something else?`,
    );
  return { median: medianOf(sorted), least, most, values };
}

/**
 * How two things that were measured side by side compare: the ratio of each pair, so that what slowed both down at some
 * moment does not count. @throws {Error} when they do not make pairs.
 */
export function ratioOf(over: Spread, under: Spread): Spread {
  if (over.values.length !== under.values.length)
    throw new Error(`${over.values.length} and ${under.values.length} values make no pairs`);
  return spreadOf(over.values.map((value, index) => value / (under.values[index] ?? Number.NaN)));
}

function medianOf(sorted: readonly number[]): number {
  const middle = sorted.length / 2;
  const above = sorted[Math.floor(middle)] ?? Number.NaN;
  const below = sorted[Math.ceil(middle) - 1] ?? Number.NaN;
  return (above + below) / 2;
}
