import { dim, red, yellow } from "./terminal.ts";

const REPEAT_MS = 10_000;
const LONGEST_LINE = 300;
/** Only these lines are parsed: under load there are thousands of others. */
const NOTABLE_LEVEL = /"level":"(?:warn|error|fatal)"/;

/**
 * Picks from an application's log what belongs on the terminal, one readable line each: warnings, errors, and
 * anything that is not JSON, such as the complaint of a process that can't start. A repeated message is shown
 * again only after ten seconds, with a count of those suppressed.
 */
export function createLogDigest(
  name: string,
  now: () => number = Date.now,
): (line: string) => string | undefined {
  const seen = new Map<string, { shownAt: number; suppressed: number }>();

  return (line) => {
    const entry = readEntry(line);
    if (!entry) return undefined;
    const earlier = seen.get(entry.message);
    if (earlier && now() - earlier.shownAt < REPEAT_MS) {
      earlier.suppressed++;
      return undefined;
    }
    // Messages that contain an id never repeat; forget them.
    if (seen.size > 1000) seen.clear();
    seen.set(entry.message, { shownAt: now(), suppressed: 0 });
    const more = earlier?.suppressed ? dim(` (and ${earlier.suppressed} more like it)`) : "";
    const paint = entry.level === "warn" ? yellow : red;
    return `${dim(entry.time)} ${name} ${paint(entry.level)} ${entry.message.slice(0, LONGEST_LINE)}${more}`;
  };
}

interface Entry {
  level: string;
  message: string;
  /** Time of day, UTC. */
  time: string;
}

function readEntry(line: string): Entry | undefined {
  if (!line.startsWith("{")) return plainEntry(line);
  if (!NOTABLE_LEVEL.test(line)) return undefined;
  try {
    const { level, time, msg, err, error = err } = JSON.parse(line) as Record<string, unknown>; // oxlint-disable-line no-unsafe-type-assertion
    const message = [msg, causeOf(error)].filter((part) => part !== undefined && part !== "").join(": ");
    return { level: String(level), message: oneLine(message), time: timeOfDay(String(time)) };
  } catch {
    return plainEntry(line);
  }
}

function causeOf(error: unknown): unknown {
  return typeof error === "object" && error !== null && "message" in error ? error.message : error;
}

/** Skips stack frames; they stay in the log. */
function plainEntry(line: string): Entry | undefined {
  if (/^\s/.test(line) || line === "") return undefined;
  return { level: "warn", message: line, time: timeOfDay(new Date().toISOString()) };
}

function oneLine(text: string): string {
  return text.replaceAll(/\s*\n\s*/g, " ");
}

function timeOfDay(time: string): string {
  return /T(\d\d:\d\d:\d\d)/.exec(time)?.[1] ?? time;
}
