import type { Provider } from "../simulators/providers.ts";

/** The part of the system that a fault affects. */
export type Family = "worker" | "api" | "redis" | "mysql" | "service";

/** A kind of fault. */
export interface FaultKind {
  readonly family: Family;
  readonly hits:
    "one worker" | "all workers" | "one API" | "redis" | "mysql" | "payments" | "carrier" | "inventory";
  /** Shortest and longest duration in seconds. */
  readonly lasts: readonly [number, number];
  /** Whether the service answers nobody meanwhile: then no order may lose an attempt by it. */
  readonly answersNobody?: true;
  /** Description for readers who don't know the code. */
  readonly meaning: string;
}

/** A worker's job locks last 15 s. If it is frozen for longer, other workers have its jobs when it resumes. */
const LONGER_THAN_A_LOCK = [17, 20] as const;
/** An attempt at a stage times out after 10 s, so nobody waits for an answer after that. */
export const LATER_THAN_AN_ATTEMPT_MS = 11_000;

/** All faults that the schedule can draw. The supervisor restarts killed processes at once. */
export const KINDS = {
  "worker-killed": { family: "worker", hits: "one worker", lasts: [0, 0], meaning: "SIGKILL to one worker" },
  "workers-killed": {
    family: "worker",
    hits: "all workers",
    lasts: [0, 3],
    meaning: "SIGKILL to all workers, restarted after a delay",
  },
  "worker-stopped": {
    family: "worker",
    hits: "one worker",
    lasts: [0, 2],
    meaning: "SIGTERM to one worker in the middle of its orders, restarted after a delay",
  },
  "worker-frozen": {
    family: "worker",
    hits: "one worker",
    lasts: LONGER_THAN_A_LOCK,
    meaning: "SIGSTOP to one worker until its locks expire, then SIGCONT",
  },
  "worker-clock": {
    family: "worker",
    hits: "one worker",
    lasts: [2, 12],
    meaning: "the clock of one worker jumps 25 hours ahead, or an hour back, and is set right again",
  },
  "worker-log-full": {
    family: "worker",
    hits: "one worker",
    lasts: [2, 10],
    meaning: "no disk left for the log of one worker",
  },
  "api-killed": {
    family: "api",
    hits: "one API",
    lasts: [0, 2],
    meaning: "SIGKILL to one API, restarted after a delay",
  },
  "api-stopped": {
    family: "api",
    hits: "one API",
    lasts: [0, 2],
    meaning: "SIGTERM to one API in the middle of its requests, restarted after a delay",
  },
  "api-frozen": {
    family: "api",
    hits: "one API",
    lasts: [2, 6],
    meaning: "SIGSTOP to one API, then SIGCONT",
  },
  "api-clock": {
    family: "api",
    hits: "one API",
    lasts: [2, 12],
    meaning: "the clock of one API jumps 25 hours ahead, or an hour back, and is set right again",
  },
  "api-log-full": {
    family: "api",
    hits: "one API",
    lasts: [2, 10],
    meaning: "no disk left for the log of one API",
  },
  "redis-killed": {
    family: "redis",
    hits: "redis",
    lasts: [0, 6],
    meaning: "SIGKILL, restarted with its data after a delay",
  },
  "redis-frozen": { family: "redis", hits: "redis", lasts: [3, 10], meaning: "SIGSTOP, then SIGCONT" },
  "redis-flushed": { family: "redis", hits: "redis", lasts: [0, 0], meaning: "FLUSHALL" },
  "redis-full": {
    family: "redis",
    hits: "redis",
    lasts: [2, 8],
    meaning: "no memory left for writes (noeviction)",
  },
  "redis-disk-full": {
    family: "redis",
    hits: "redis",
    lasts: [2, 8],
    meaning: "no disk left for its append-only file",
  },
  "redis-read-only": {
    family: "redis",
    hits: "redis",
    lasts: [2, 8],
    meaning: "refuses writes for lack of replicas",
  },
  "mysql-killed": {
    family: "mysql",
    hits: "mysql",
    lasts: [0, 5],
    meaning: "SIGKILL, restarted with its data after a delay",
  },
  "mysql-frozen": { family: "mysql", hits: "mysql", lasts: [2, 8], meaning: "SIGSTOP, then SIGCONT" },
  "mysql-read-only": {
    family: "mysql",
    hits: "mysql",
    lasts: [2, 8],
    meaning: "refuses writes, like the old primary after a failover",
  },
  "stock-locked": {
    family: "mysql",
    hits: "mysql",
    lasts: [3, 10],
    meaning: "another transaction locks the row of the most popular product",
  },
  "connections-killed": {
    family: "mysql",
    hits: "mysql",
    lasts: [2, 6],
    meaning: "KILL to every third connection, twice a second",
  },
  "payments-down": {
    family: "service",
    hits: "payments",
    lasts: [8, 25],
    answersNobody: true,
    meaning: "answers 503",
  },
  "payments-refused": {
    family: "service",
    hits: "payments",
    lasts: [3, 10],
    answersNobody: true,
    meaning: "refuses connections",
  },
  "payments-slow": {
    family: "service",
    hits: "payments",
    lasts: [5, 12],
    meaning: "answers after 3 seconds",
  },
  "payments-erring": {
    family: "service",
    hits: "payments",
    lasts: [5, 12],
    meaning: "often fails, at random",
  },
  "payments-late": {
    family: "service",
    hits: "payments",
    lasts: [5, 12],
    meaning: "charges, but answers after the caller has given up",
  },
  "payments-mute": {
    family: "service",
    hits: "payments",
    lasts: [5, 12],
    meaning: "charges, but often loses the reply",
  },
  "payments-poisoned": {
    family: "service",
    hits: "payments",
    lasts: [8, 15],
    meaning: "never answers for a third of the orders, and serves all others",
  },
  "carrier-down": {
    family: "service",
    hits: "carrier",
    lasts: [8, 25],
    answersNobody: true,
    meaning: "answers 503",
  },
  "carrier-refused": {
    family: "service",
    hits: "carrier",
    lasts: [3, 10],
    answersNobody: true,
    meaning: "refuses connections",
  },
  "carrier-slow": { family: "service", hits: "carrier", lasts: [5, 12], meaning: "answers after 3 seconds" },
  "carrier-erring": { family: "service", hits: "carrier", lasts: [5, 12], meaning: "often fails, at random" },
  "carrier-late": {
    family: "service",
    hits: "carrier",
    lasts: [5, 12],
    meaning: "books, but answers after the caller has given up",
  },
  "carrier-mute": {
    family: "service",
    hits: "carrier",
    lasts: [5, 12],
    meaning: "books, but often loses the reply",
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
    meaning: "the inventory does not answer",
  },
} as const satisfies Record<string, FaultKind>;

export type FaultName = keyof typeof KINDS;

/** Faults that the provider itself simulates. */
export type ProviderFault = Extract<FaultName, `${Provider}-${string}`>;

/** All names, in table order. */
export const FAULT_NAMES = Object.keys(KINDS).filter((name): name is FaultName => name in KINDS);

/** All families, in table order. */
export const FAMILIES: readonly Family[] = [...new Set(FAULT_NAMES.map((name) => KINDS[name].family))];
