/** Units of durations, largest first. */
const UNITS = [
  { sign: "d", name: "days", milliseconds: 86_400_000 },
  { sign: "h", name: "hours", milliseconds: 3_600_000 },
  { sign: "m", name: "minutes", milliseconds: 60_000 },
  { sign: "s", name: "seconds", milliseconds: 1_000 },
] as const;

/** Parses a duration such as `30s`, `90m`, `24h` or `2d` to milliseconds; undefined if invalid. */
export function parseDuration(text: string): number | undefined {
  const [, count, sign] = /^(\d{1,9})([dhms])$/.exec(text) ?? [];
  const unit = UNITS.find((each) => each.sign === sign);
  return unit && Number(count) * unit.milliseconds;
}

/** Formats milliseconds in the largest unit with a whole number above one: "24 hours", "2 days". */
export function durationInWords(milliseconds: number): string {
  const unit = UNITS.find(
    (each) => milliseconds % each.milliseconds === 0 && milliseconds >= 2 * each.milliseconds,
  );
  return unit ? `${milliseconds / unit.milliseconds} ${unit.name}` : `${milliseconds} milliseconds`;
}
