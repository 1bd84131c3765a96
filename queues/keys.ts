import type { Redis } from "ioredis";
import type { Step } from "../src/order/stage.ts";

/*
 * Where the keys of a Conveyor lie. All of them, and its channels, stand under one prefix, so that several can share a
 * Redis. A connection is opened for one prefix, and knows it: whoever has the connection can name the keys.
 */

/** The prefix that is taken where none is set. Its queues have no prefix, as those of the versions before there was one. */
export const DEFAULT_PREFIX = "conveyor";

const prefixes = new WeakMap<object, string>();

/** Has everybody who uses this connection name keys under this prefix. */
export function usePrefix(redis: Redis, prefix: string): void {
  prefixes.set(redis, prefix);
}

/** The key, or channel, of this name. */
export function keyOf(redis: Redis, name: string): string {
  return `${prefixOf(redis)}:${name}`;
}

/**
 * What BullMQ puts before the keys of a step's queue. Each of them carries the queue's own hash tag, so that Redis Cluster
 * can hold each queue on one node.
 */
export function queuePrefix(redis: Redis, { name }: Pick<Step, "name">): string {
  const prefix = prefixOf(redis);
  return prefix === DEFAULT_PREFIX ? `{${name}}` : `${prefix}:{${name}}`;
}

function prefixOf(redis: Redis): string {
  return prefixes.get(redis) ?? DEFAULT_PREFIX;
}
