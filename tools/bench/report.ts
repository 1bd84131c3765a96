import { z } from "zod";

/* The report of a run, as `--json` writes it. Times are in milliseconds, rates per second. */

const spread = z.object({
  median: z.number(),
  least: z.number(),
  most: z.number(),
  values: z.array(z.number()).readonly(),
});

/** All comparisons, in the order they run. */
export const COMPARISONS = ["accept", "drain", "alone", "outage", "growth", "scaling"] as const;
export type Comparison = (typeof COMPARISONS)[number];

const acceptRow = z.object({
  name: z.string(),
  connections: z.number(),
  requestsPerSecond: spread,
  p50: spread,
  p99: spread,
  /** Responses other than 201 and 202. */
  refused: z.number(),
  /** Shares of one core used by server and load generator, to show which was the limit. */
  serverCpu: spread.nullable(),
  clientCpu: spread,
});

const drainRow = z.object({
  name: z.string(),
  orders: z.number(),
  ordersPerSecond: spread,
  /** Milliseconds of CPU per order; null if unknown. */
  cpu: z.object({ node: spread, mysql: spread, redis: spread }).nullable(),
});

const aloneRow = z.object({
  name: z.string(),
  /** Orders per repeat, one after another. */
  orders: z.number(),
  p50: spread,
  p99: spread,
});

const outageSecond = z.object({
  second: z.number(),
  sent: z.number(),
  /** Requests that did not get a 201 or 202. */
  failed: z.number(),
  p50: z.number().nullable(),
  p99: z.number().nullable(),
});
const outagePhase = z.object({
  phase: z.string(),
  p50: z.number(),
  p99: z.number(),
  failedShare: z.number(),
});
const outageSide = z.object({
  name: z.string(),
  seconds: z.array(outageSecond),
  phases: z.array(outagePhase),
  /** Orders that got a 201 or 202, and how many of them were delivered. */
  accepted: z.number(),
  delivered: z.number(),
});

const growthRow = z.object({
  orders: z.number(),
  acceptPerSecond: spread,
  drainPerSecond: spread,
});

const scalingRow = z.object({
  workers: z.number(),
  ordersPerSecond: spread,
  /** The throughput that the providers' latency and the concurrency allow. */
  ideal: z.number(),
});

const ratio = z.number().nullable();

/** The ratios with goals; null if not measured. */
const ratios = z.object({
  acceptToBareExpress: ratio,
  acceptToOneTransaction: ratio,
  acceptToSync: ratio,
  drainToBareBullmq: ratio,
  drainToOneTransaction: ratio,
  drainToSync: ratio,
  aloneToBareChain: ratio,
  outageP99: ratio,
  growthDrain: ratio,
  scaling: ratio,
  cpuToBefore: ratio,
});
export type RatioName = keyof z.infer<typeof ratios>;

export const benchReport = z.object({
  version: z.literal(1),
  startedAt: z.iso.datetime(),
  /** Duration of the run in seconds. */
  lasted: z.number(),
  size: z.enum(["full", "quick", "smoke"]),
  machine: z.object({
    cpu: z.string(),
    cores: z.number(),
    memoryBytes: z.number(),
    system: z.string(),
    node: z.string(),
    mysql: z.string(),
    redis: z.string(),
    express: z.string(),
    bullmq: z.string(),
  }),
  accept: z.object({ seconds: z.number(), rows: z.array(acceptRow) }).optional(),
  drain: z
    .object({
      /** The version that "Conveyor before" ran, if one was measured. */
      before: z.string().optional(),
      rows: z.array(drainRow),
    })
    .optional(),
  alone: z.object({ rows: z.array(aloneRow) }).optional(),
  outage: z
    .object({
      perSecond: z.number(),
      inventoryMs: z.number(),
      /** How often the worker probed the inventory. */
      probeMs: z.number(),
      /** Start and end of each phase in seconds. */
      phases: z.array(z.object({ phase: z.string(), from: z.number(), to: z.number() })),
      sides: z.array(outageSide),
      /** Seconds from the inventory's return until the backlog was drained. */
      backlogGoneAfter: z.array(z.number()),
      /** Orders waiting when the inventory returned. */
      backlog: z.array(z.number()),
      p99WhileDownToHealthy: spread,
    })
    .optional(),
  growth: z
    .object({
      rows: z.array(growthRow),
      backlog: z.object({
        orders: z.number(),
        /** While this many orders wait. */
        acceptPerSecond: z.number(),
        drainPerSecond: z.number(),
        redisBytesPerOrder: z.number(),
      }),
    })
    .optional(),
  scaling: z
    .object({ providerMs: z.number(), concurrency: z.number(), rows: z.array(scalingRow) })
    .optional(),
  ratios,
  /** The spread of each ratio over the repeats. */
  ratioSpreads: z.partialRecord(ratios.keyof(), spread),
  /** What was skipped, and why. */
  skipped: z.array(z.string()),
});

export type BenchReport = z.infer<typeof benchReport>;
export type Results = Pick<BenchReport, Comparison>;
/** What a comparison measured. */
export type ResultOf<Name extends Comparison> = NonNullable<Results[Name]>;
export type AcceptRow = z.infer<typeof acceptRow>;
export type DrainRow = z.infer<typeof drainRow>;
export type AloneRow = z.infer<typeof aloneRow>;
export type OutageSide = z.infer<typeof outageSide>;
export type OutagePhase = z.infer<typeof outagePhase>;
export type OutageSecond = z.infer<typeof outageSecond>;
