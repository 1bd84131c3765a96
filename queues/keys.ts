import type { Redis } from "ioredis";
import type { Step } from "../src/order/stage.ts";

/*
 * Redis keys and channels, all under one prefix, so that several installations can share a Redis. The prefix is
 * stored with the connection.
 */

/** The default prefix. Its queues have none, as in versions that had no prefixes. */
export const DEFAULT_PREFIX = "conveyor";

const prefixes = new WeakMap<object, string>();

/** Sets the connection's key prefix. */
export function usePrefix(redis: Redis, prefix: string): void {
  prefixes.set(redis, prefix);
}

/** The key or channel with this name. */
export function keyOf(redis: Redis, name: string): string {
  return `${prefixOf(redis)}:${name}`;
}

/**
 * BullMQ's prefix for a step's queue. It contains a hash tag, so that Redis Cluster keeps each queue on one
 * node.
 */
export function queuePrefix(redis: Redis, { name }: Pick<Step, "name">): string {
  const prefix = prefixOf(redis);
  return prefix === DEFAULT_PREFIX ? `{${name}}` : `${prefix}:{${name}}`;
}

function prefixOf(redis: Redis): string {
  return prefixes.get(redis) ?? DEFAULT_PREFIX;
}
