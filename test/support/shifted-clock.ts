import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { pathToFileURL } from "node:url";

const PRELOAD = pathToFileURL(path.resolve(import.meta.dirname, "../../tools/shared/shifted-clock.mjs")).href;

/** The clock of a process that runs with this environment. */
export interface ShiftedClock {
  readonly env: Readonly<Record<string, string>>;
  /** Sets it so many milliseconds ahead. */
  shift(ms: number): void;
  remove(): void;
}

export function shiftedClock(ms = 0): ShiftedClock {
  const folder = mkdtempSync(path.join(tmpdir(), "conveyor-clock-"));
  const file = path.join(folder, "shift");
  const shift = (by: number) => writeFileSync(file, String(by));
  shift(ms);
  return {
    env: { NODE_OPTIONS: `--import ${PRELOAD}`, CLOCK_SHIFT_FILE: file },
    shift,
    remove: () => rmSync(folder, { recursive: true, force: true }),
  };
}
