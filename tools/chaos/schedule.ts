import type { Random } from "../shared/random.ts";
import { FAMILIES, FAULT_NAMES, KINDS, type FaultName } from "./kinds.ts";
import { between, shuffled, stream } from "./random.ts";

/** A planned fault. */
export interface PlannedFault {
  /** From 1, in order of time. */
  readonly number: number;
  readonly name: FaultName;
  /** What it breaks: "worker-2", "redis". No two faults share a target at the same time. */
  readonly targets: readonly string[];
  /** Milliseconds from the start of the load. */
  readonly at: number;
  /** Duration in milliseconds; 0 if instantaneous. */
  readonly lasts: number;
}

export interface ScheduleOptions {
  readonly seed: number;
  /** Milliseconds of load. */
  readonly lengthMs: number;
  readonly workers: number;
  readonly apis: number;
}

/** Milliseconds between faults, on average. */
const EVERY_MS = 5_500;
const FEWEST = FAMILIES.length;
/** The last share of the load has no faults. */
const QUIET_SHARE = 0.15;
/** A target has this long to recover before it is broken again. */
const SETTLE_MS = 5_000;

/** Plans the faults of a run, determined by the options alone. The first ones cover every family. */
export function planFaults(options: ScheduleOptions): PlannedFault[] {
  const random = stream(options.seed, "faults");
  const lengthMs = options.lengthMs * (1 - QUIET_SHARE);
  const count = Math.max(FEWEST, Math.round(lengthMs / EVERY_MS));
  const gap = lengthMs / count;
  const deck = new Deck(random);
  const planned: PlannedFault[] = [];
  for (let slot = 0; slot < count; slot++) {
    const at = Math.round(gap * slot + random.below(Math.max(1, Math.floor(gap / 2))));
    const fault = deck.draw((name) => fit(name, at, lengthMs, planned, options, random));
    if (fault) planned.push({ number: planned.length + 1, ...fault });
  }
  return planned;
}

/** The fault with targets and duration; undefined if there is no time left or its target is already broken. */
function fit(
  name: FaultName,
  at: number,
  endMs: number,
  planned: readonly PlannedFault[],
  options: ScheduleOptions,
  random: Random,
): Omit<PlannedFault, "number"> | undefined {
  const [least, most] = KINDS[name].lasts.map((seconds) => seconds * 1_000);
  const longest = Math.min(most ?? 0, Math.round(endMs - at));
  if (least === undefined || longest < least) return undefined;
  const lasts = between(random, [least, longest]);
  const busy = new Set(
    planned.filter((other) => other.at + other.lasts + SETTLE_MS > at).flatMap(({ targets }) => targets),
  );
  const targets = targetsOf(name, options, busy, random);
  if (targets.length === 0 || targets.some((target) => busy.has(target))) return undefined;
  return { name, targets, at, lasts };
}

function targetsOf(
  name: FaultName,
  { workers, apis }: ScheduleOptions,
  busy: ReadonlySet<string>,
  random: Random,
): string[] {
  const one = (those: string[]) =>
    shuffled(
      random,
      those.filter((target) => !busy.has(target)),
    ).slice(0, 1);
  const { hits } = KINDS[name];
  switch (hits) {
    case "one worker":
      return one(numbered("worker", workers));
    case "all workers":
      return numbered("worker", workers);
    case "one API":
      return one(numbered("api", apis));
    case "inventory":
      // Stock, and the switch that turns it off, are in MySQL.
      return ["inventory", "mysql"];
    case "redis":
    case "mysql":
    case "payments":
    case "carrier":
      return [hits];
  }
}

/** `worker-1`, `worker-2`. */
export function numbered(what: string, count: number): string[] {
  return Array.from({ length: count }, (_, index) => `${what}-${index + 1}`);
}

/** Deals every fault once before repeating any, and one of each family first. */
class Deck {
  readonly #random: Random;
  #cards: FaultName[];

  constructor(random: Random) {
    this.#random = random;
    const all = shuffled(random, FAULT_NAMES);
    // Long ones first, so that a short run has time for all. No "inventory", which would block "mysql".
    const first = FAMILIES.flatMap(
      (family) => all.find((name) => KINDS[name].family === family && KINDS[name].hits !== "inventory") ?? [],
    ).toSorted((a, b) => KINDS[b].lasts[0] - KINDS[a].lasts[0]);
    this.#cards = [...first, ...all.filter((name) => !first.includes(name))];
  }

  /** The first card that `make` accepts, from a refilled deck if necessary. */
  draw<T>(make: (name: FaultName) => T | undefined): T | undefined {
    return this.#drawFrom(this.#cards, make) ?? this.#drawFrom(this.#refilled(), make);
  }

  #drawFrom<T>(cards: readonly FaultName[], make: (name: FaultName) => T | undefined): T | undefined {
    for (const [index, name] of cards.entries()) {
      const made = make(name);
      if (made === undefined) continue;
      this.#cards = cards.toSpliced(index, 1);
      return made;
    }
    return undefined;
  }

  #refilled(): FaultName[] {
    return [...this.#cards, ...shuffled(this.#random, FAULT_NAMES)];
  }
}
