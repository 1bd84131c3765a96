import { z } from "zod";

/*
 * What a run found out, as `--json` writes it and as the page is made from it. Times are milliseconds, rates a second.
 */

const spread = z.object({
  median: z.number(),
  least: z.number(),
  most: z.number(),
  values: z.array(z.number()).readonly(),
});

/** Every comparison, in the order in which they are made. */
export const COMPARISONS = ["accept", "drain", "alone", "outage", "growth", "scaling"] as const;
export type Comparison = (typeof COMPARISONS)[number];

const acceptRow = z.object({
  name: z.string(),
  connections: z.number(),
  requestsPerSecond: spread,
  p50: spread,
  p99: spread,
  /** Answers that were neither 201 nor 202. */
  refused: z.number(),
  /** Parts of one core that the server and the source of the load used: who held up whom. */
  serverCpu: spread.nullable(),
  clientCpu: spread,
});

const drainRow = z.object({
  name: z.string(),
  orders: z.number(),
  ordersPerSecond: spread,
  /** Milliseconds of CPU an order; null where it can't be told. */
  cpu: z.object({ node: spread, mysql: spread, redis: spread }).nullable(),
});

const aloneRow = z.object({
  name: z.string(),
  /** One after the other, in each repeat. */
  orders: z.number(),
  p50: spread,
  p99: spread,
});

const outageSecond = z.object({
  second: z.number(),
  sent: z.number(),
  /** Requests that were not answered with 201 or 202. */
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
  /** Orders that were answered with 201 or 202, and of these, how many were delivered in the end. */
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
  /** What the providers' time and the concurrency let through. */
  ideal: z.number(),
});

const ratio = z.number().nullable();

/** The ratios that the project promises something about; null for what was not measured. */
const ratios = z.object({
  acceptToBareExpress: ratio,
  acceptToOneTransaction: ratio,
  drainToBareBullmq: ratio,
  drainToOneTransaction: ratio,
  drainToSync: ratio,
  aloneToBareChain: ratio,
  outageP99: ratio,
  growthDrain: ratio,
  scaling: ratio,
});
export type RatioName = keyof z.infer<typeof ratios>;

export const benchReport = z.object({
  version: z.literal(1),
  startedAt: z.iso.datetime(),
  /** Seconds that the whole run took. */
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
  drain: z.object({ rows: z.array(drainRow) }).optional(),
  alone: z.object({ rows: z.array(aloneRow) }).optional(),
  outage: z
    .object({
      perSecond: z.number(),
      inventoryMs: z.number(),
      /** How often the worker asked whether the inventory was back. */
      probeMs: z.number(),
      /** When each part of the story begins and ends, in seconds. */
      phases: z.array(z.object({ phase: z.string(), from: z.number(), to: z.number() })),
      sides: z.array(outageSide),
      /** Seconds from the inventory's return until nothing was left of the backlog. */
      backlogGoneAfter: z.array(z.number()),
      /** Orders that waited when the inventory returned. */
      backlog: z.array(z.number()),
      p99WhileDownToHealthy: spread,
    })
    .optional(),
  growth: z
    .object({
      rows: z.array(growthRow),
      backlog: z.object({
        orders: z.number(),
        /** While so many wait. */
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
  /** The least and the most of each ratio over the repeats. */
  ratioSpreads: z.partialRecord(ratios.keyof(), spread),
  /** What was left out, and why. */
  skipped: z.array(z.string()),
});

export type BenchReport = z.infer<typeof benchReport>;
export type Results = Pick<BenchReport, Comparison>;
export type AcceptRow = z.infer<typeof acceptRow>;
export type DrainRow = z.infer<typeof drainRow>;
export type AloneRow = z.infer<typeof aloneRow>;
export type OutageSide = z.infer<typeof outageSide>;
export type OutageSecond = z.infer<typeof outageSecond>;
