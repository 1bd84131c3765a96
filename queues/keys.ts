import { isSharded, type Connection } from "./connection.ts";
import type { Step } from "../src/order/stage.ts";

/*
 * Redis keys and channels, all under one prefix, so that several installations can share a Redis. The prefix is
 * stored with the connection.
 *
 * A script, transaction or command may touch only keys with the same hash tag, the part in braces: in a cluster, others
 * may be in another shard. What belongs to a queue, and must be lost with it, has the queue's tag.
 */

/** The default prefix. Its queues have none, as in versions that had no prefixes. */
export const DEFAULT_PREFIX = "conveyor";

const prefixes = new WeakMap<object, string>();

/** Sets the connection's key prefix. */
export function usePrefix(redis: Connection, prefix: string): void {
  prefixes.set(redis, prefix);
}

/** The key or channel with this name. */
export function keyOf(redis: Connection, name: string): string {
  return `${prefixOf(redis)}:${name}`;
}

/**
 * BullMQ's prefix for a step's queue. It contains a hash tag, so that Redis Cluster keeps each queue on one
 * node.
 */
export function queuePrefix(redis: Connection, { name }: Pick<Step, "name">): string {
  const prefix = prefixOf(redis);
  return prefix === DEFAULT_PREFIX ? `{${name}}` : `${prefix}:{${name}}`;
}

/** The key with this name beside a step's queue, in the same shard of a cluster. */
export function keyBesideQueue(redis: Connection, step: Pick<Step, "name">, name: string): string {
  return `${queuePrefix(redis, step)}:${name}`;
}

/** Keys that are lost when any of these steps' queues is: one in each of a cluster's shards that has some. */
export function witnessKeys(redis: Connection, steps: readonly Pick<Step, "name">[]): string[] {
  return isSharded(redis) ? steps.map((step) => keyBesideQueue(redis, step, "marker")) : [];
}

function prefixOf(redis: Connection): string {
  return prefixes.get(redis) ?? DEFAULT_PREFIX;
}
