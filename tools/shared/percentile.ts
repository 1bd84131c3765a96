/** The percentile by nearest rank, `part` being 0 to 1; NaN if there are no values. */
export function percentile(sorted: ArrayLike<number>, part: number): number {
  return sorted[Math.max(0, Math.ceil(sorted.length * part) - 1)] ?? Number.NaN;
}
