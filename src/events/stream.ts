import type { Connection } from "../../queues/connection.ts";
import { keyOf } from "../../queues/keys.ts";

/** The Redis Stream that other services read. Entries have the ids of their events, so no event is in it twice. */
export function streamOf(redis: Connection): string {
  return keyOf(redis, "events");
}

/** The greatest fencing token of all workers that have fed the stream. In the stream's slot of a Redis Cluster. */
export function streamTokenOf(redis: Connection): string {
  return `{${streamOf(redis)}}:token`;
}

/** The channel that announces new events, so that the relay need not poll constantly. */
export function notificationChannelOf(redis: Connection): string {
  return `{${streamOf(redis)}}:nudge`;
}

/** Converts an event's id to the id of its entry. */
export function entryId(eventId: number): string {
  return `${eventId}-0`;
}

/** Converts an entry's id to the id of its event. */
export function eventIdOf(entry: string): number {
  return Number(entry.split("-")[0]);
}
