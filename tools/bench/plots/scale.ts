/** Maps a value to its coordinate. */
export interface Scale {
  readonly place: (value: number) => number;
  /** Round values to label. */
  readonly ticks: readonly number[];
}

type Span = readonly [from: number, to: number];

/** A linear scale from 0 to a round value not below `most`. */
export function linear(most: number, [from, to]: Span): Scale {
  const step = roundStep(most > 0 ? most : 1);
  const end = Math.max(step, Math.ceil(most / step - 1e-9) * step);
  const count = Math.round(end / step);
  return {
    place: (value) => from + ((to - from) * value) / end,
    ticks: Array.from({ length: count + 1 }, (_, index) => index * step),
  };
}

/** A logarithmic scale between powers of ten. Values below the first are clamped to it. */
export function logarithmic([least, most]: Span, [from, to]: Span): Scale {
  const first = Math.floor(Math.log10(least) + 1e-9);
  const last = Math.max(first + 1, Math.ceil(Math.log10(most) - 1e-9));
  return {
    place: (value) =>
      from + ((to - from) * (Math.log10(Math.max(value, 10 ** first)) - first)) / (last - first),
    ticks: Array.from({ length: last - first + 1 }, (_, index) => 10 ** (first + index)),
  };
}

/** 1, 2 or 5 times a power of ten, so that there are about five steps. */
function roundStep(most: number): number {
  const rough = most / 5;
  const power = 10 ** Math.floor(Math.log10(rough));
  return [1, 2, 5, 10].map((factor) => factor * power).find((step) => step >= rough - 1e-9) ?? rough;
}
