/** Milliseconds of the units that durations are written in, the largest first. */
const UNITS = [
  { sign: "d", name: "days", milliseconds: 86_400_000 },
  { sign: "h", name: "hours", milliseconds: 3_600_000 },
  { sign: "m", name: "minutes", milliseconds: 60_000 },
  { sign: "s", name: "seconds", milliseconds: 1_000 },
] as const;

/** A duration such as `30s`, `90m`, `24h` or `2d` in milliseconds; undefined for a text that is none. */
export function parseDuration(text: string): number | undefined {
  const [, count, sign] = /^(\d{1,9})([dhms])$/.exec(text) ?? [];
  const unit = UNITS.find((each) => each.sign === sign);
  return unit && Number(count) * unit.milliseconds;
}

/** Milliseconds in words for people, in the largest unit of which there are several: "24 hours", "2 days". */
export function durationInWords(milliseconds: number): string {
  const unit = UNITS.find(
    (each) => milliseconds % each.milliseconds === 0 && milliseconds >= 2 * each.milliseconds,
  );
  return unit ? `${milliseconds / unit.milliseconds} ${unit.name}` : `${milliseconds} milliseconds`;
}
