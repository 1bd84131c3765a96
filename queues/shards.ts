import { crc32 } from "node:zlib";
import type { StageSettings } from "../src/order/stage.ts";

/*
 * A queue is in one shard of a cluster, on one core. To outgrow that, a step's queue is split: `pay` into `pay-0`,
 * `pay-1` and so on, each with a hash tag of its own.
 */

/** The most queues of one step: each costs every worker a connection. */
export const MOST_SHARDS = 32;

/** The names of a step's queues if it is split into so many. If it is not, its queue has its name. */
export function queueNames(step: string, shards: number): string[] {
  return shards === 1 ? [step] : Array.from({ length: shards }, (_, index) => `${step}-${index}`);
}

/** The name of the queue for an order, the same in every process. */
export function queueNameFor(orderId: string, step: string, shards: number): string {
  return shards === 1 ? step : `${step}-${crc32(orderId) % shards}`;
}

/** One of the queues among which a limit is divided. */
export interface Part {
  /** From 0. */
  readonly index: number;
  readonly of: number;
}

/**
 * A queue's part of a concurrency. The parts add up to it; but each is at least one, so that every queue is served. Where
 * that is too much, `Permits` keep to the limit.
 */
export function partOfConcurrency(concurrency: number, { index, of }: Part): number {
  return Math.max(1, Math.floor(concurrency / of) + (index < concurrency % of ? 1 : 0));
}

/** A queue's part of a rate limit: fewer jobs, or else one in a longer time. */
export function partOfRate(
  { max, duration }: NonNullable<StageSettings["rateLimit"]>,
  part: Part,
): NonNullable<StageSettings["rateLimit"]> {
  if (max >= part.of) return { max: partOfConcurrency(max, part), duration };
  return { max: 1, duration: Math.ceil((duration * part.of) / max) };
}
