/** Where a fault breaks something. */
export type Family = "worker" | "api" | "redis" | "mysql" | "service";

/** One way to break something. */
export interface FaultKind {
  readonly family: Family;
  readonly hits:
    "one worker" | "all workers" | "one API" | "redis" | "mysql" | "payments" | "carrier" | "inventory";
  /** Least and most seconds that it lasts. */
  readonly lasts: readonly [number, number];
  /** What it is, for a reader who does not know the code. */
  readonly meaning: string;
}

/** A worker's lock on its jobs lasts 15 s: one that stands still for longer comes back to jobs that others have. */
const LONGER_THAN_A_LOCK = [17, 20] as const;
/** An attempt of a stage ends after 10 s: an answer that comes later finds nobody. */
export const LATER_THAN_AN_ATTEMPT_MS = 11_000;

/** Every fault that the schedule can draw. Killed processes are started again by their supervisor, at once. */
export const KINDS = {
  "worker-killed": { family: "worker", hits: "one worker", lasts: [0, 0], meaning: "SIGKILL to one worker" },
  "workers-killed": {
    family: "worker",
    hits: "all workers",
    lasts: [0, 3],
    meaning: "SIGKILL to all workers, and none for a while",
  },
  "worker-frozen": {
    family: "worker",
    hits: "one worker",
    lasts: LONGER_THAN_A_LOCK,
    meaning: "SIGSTOP to one worker until its locks have run out, then SIGCONT",
  },
  "api-killed": {
    family: "api",
    hits: "one API",
    lasts: [0, 2],
    meaning: "SIGKILL to one API, and none in its place for a while",
  },
  "api-frozen": {
    family: "api",
    hits: "one API",
    lasts: [2, 6],
    meaning: "SIGSTOP to one API, then SIGCONT",
  },
  "redis-killed": {
    family: "redis",
    hits: "redis",
    lasts: [0, 6],
    meaning: "SIGKILL, started again later with its data",
  },
  "redis-frozen": { family: "redis", hits: "redis", lasts: [3, 10], meaning: "SIGSTOP, then SIGCONT" },
  "redis-flushed": { family: "redis", hits: "redis", lasts: [0, 0], meaning: "FLUSHALL" },
  "redis-full": {
    family: "redis",
    hits: "redis",
    lasts: [2, 8],
    meaning: "no memory left for writes (noeviction)",
  },
  "redis-read-only": {
    family: "redis",
    hits: "redis",
    lasts: [2, 8],
    meaning: "takes no writes for lack of replicas",
  },
  "mysql-killed": {
    family: "mysql",
    hits: "mysql",
    lasts: [0, 5],
    meaning: "SIGKILL, started again later with its data",
  },
  "mysql-frozen": { family: "mysql", hits: "mysql", lasts: [2, 8], meaning: "SIGSTOP, then SIGCONT" },
  "mysql-read-only": {
    family: "mysql",
    hits: "mysql",
    lasts: [2, 8],
    meaning: "reads, and takes no writes, as the old primary after a failover",
  },
  "stock-locked": {
    family: "mysql",
    hits: "mysql",
    lasts: [3, 10],
    meaning: "another transaction keeps the row of the product most in demand locked",
  },
  "connections-killed": {
    family: "mysql",
    hits: "mysql",
    lasts: [2, 6],
    meaning: "KILL to every third connection, twice a second",
  },
  "payments-down": { family: "service", hits: "payments", lasts: [8, 25], meaning: "answers 503" },
  "payments-refused": {
    family: "service",
    hits: "payments",
    lasts: [3, 10],
    meaning: "takes no connections",
  },
  "payments-slow": { family: "service", hits: "payments", lasts: [5, 12], meaning: "answers after seconds" },
  "payments-erring": {
    family: "service",
    hits: "payments",
    lasts: [5, 12],
    meaning: "fails often, at random",
  },
  "payments-late": {
    family: "service",
    hits: "payments",
    lasts: [5, 12],
    meaning: "charges, and answers when nobody waits any more",
  },
  "payments-mute": {
    family: "service",
    hits: "payments",
    lasts: [5, 12],
    meaning: "charges, and often loses the reply",
  },
  "payments-poisoned": {
    family: "service",
    hits: "payments",
    lasts: [8, 15],
    meaning: "gives a third of the orders no answer, and serves all others",
  },
  "carrier-down": { family: "service", hits: "carrier", lasts: [8, 25], meaning: "answers 503" },
  "carrier-refused": { family: "service", hits: "carrier", lasts: [3, 10], meaning: "takes no connections" },
  "carrier-slow": { family: "service", hits: "carrier", lasts: [5, 12], meaning: "answers after seconds" },
  "carrier-erring": { family: "service", hits: "carrier", lasts: [5, 12], meaning: "fails often, at random" },
  "carrier-late": {
    family: "service",
    hits: "carrier",
    lasts: [5, 12],
    meaning: "books, and answers when nobody waits any more",
  },
  "carrier-mute": {
    family: "service",
    hits: "carrier",
    lasts: [5, 12],
    meaning: "books, and often loses the reply",
  },
  "carrier-poisoned": {
    family: "service",
    hits: "carrier",
    lasts: [8, 15],
    meaning: "answers 500 for a third of the orders, and serves all others",
  },
  "inventory-down": {
    family: "service",
    hits: "inventory",
    lasts: [5, 20],
    meaning: "the stock answers nobody",
  },
} as const satisfies Record<string, FaultKind>;

export type FaultName = keyof typeof KINDS;

/** What a provider does wrong, and not we to it. */
export type Disturbance = Extract<FaultName, `payments-${string}` | `carrier-${string}`>;

/** All names, in the order of the table. */
export const FAULT_NAMES = Object.keys(KINDS).filter((name): name is FaultName => name in KINDS);

/** All families, in the order of their first fault. */
export const FAMILIES: readonly Family[] = [...new Set(FAULT_NAMES.map((name) => KINDS[name].family))];
