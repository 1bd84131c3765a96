import type { Redis } from "ioredis";
import { keyOf } from "../../queues/keys.ts";

/** The Redis Stream that other services read. An entry's id is that of its event, so that none is in it twice. */
export function streamOf(redis: Redis): string {
  return keyOf(redis, "events");
}

/** The greatest fencing token of those who have fed the stream. In Redis Cluster it lies where the stream does. */
export function streamTokenOf(redis: Redis): string {
  return `{${streamOf(redis)}}:token`;
}

/** The channel that announces new events, so that the relay need not poll all the time. */
export function notificationChannelOf(redis: Redis): string {
  return `{${streamOf(redis)}}:nudge`;
}

/** The id of a stream's entry for an event, and back. */
export function entryId(eventId: number): string {
  return `${eventId}-0`;
}

export function eventIdOf(entry: string): number {
  return Number(entry.split("-")[0]);
}
