import { setTimeout as sleep } from "node:timers/promises";
import type { Connection } from "../../../queues/connection.ts";
import type { EventLog } from "../../../db/event-log.ts";
import { entryId, eventIdOf, streamOf } from "../stream.ts";
import { frameOf, frameOfLogged, type Frame } from "./frame.ts";

/** Events per read. */
const BATCH = 500;
/** Milliseconds that XREAD blocks while there is nothing new. */
const BLOCK_MS = 5_000;
/** Milliseconds for Redis to return the end of the stream. */
const ANSWER_MS = 1_000;
/** Milliseconds between two reads of the log if there is no stream. */
const POLL_INTERVAL_MS = 500;

/** A source of new events, read once per process for all its listeners. */
export interface LiveSource {
  /** The latest event. @throws {DatabaseError} */
  end(): Promise<number>;
  /** Waits for events after this one, in order and without gaps; returns none after a while. @throws {Error} */
  next(after: number, signal: AbortSignal): Promise<readonly Frame[]>;
  close(): void;
}

/** Polls the log, for a service without Redis. */
export class LogSource implements LiveSource {
  readonly #log: EventLog;

  constructor(log: EventLog) {
    this.#log = log;
  }

  end(): Promise<number> {
    return this.#log.end();
  }

  async next(after: number, signal: AbortSignal): Promise<readonly Frame[]> {
    const events = await this.#log.read({ after, limit: BATCH });
    if (events.length === 0) await sleep(POLL_INTERVAL_MS, undefined, { signal });
    return events.map(frameOfLogged);
  }

  close(): void {
    // The log belongs to its owner.
  }
}

/**
 * Reads the Redis Stream with one blocking command. Falls back to MySQL for events that were trimmed before
 * they were read, and for the start position while Redis is away.
 */
export class StreamSource implements LiveSource {
  readonly #log: EventLog;
  readonly #redis: Connection;

  /** @param redis a dedicated connection, since it blocks; its commands wait while Redis is away. */
  constructor({ log, redis }: { readonly log: EventLog; readonly redis: Connection }) {
    this.#log = log;
    this.#redis = redis;
  }

  async end(): Promise<number> {
    const [newest] = (await this.#newest()) ?? [];
    return newest === undefined ? this.#log.end() : eventIdOf(newest[0]);
  }

  async next(after: number, signal: AbortSignal): Promise<readonly Frame[]> {
    const entries = await this.#read(after);
    const [first] = entries;
    if (first === undefined || first.previous <= after) return entries.map(({ frame }) => frame);
    return this.#missed(after, first.previous, signal);
  }

  close(): void {
    this.#redis.disconnect();
  }

  async #newest() {
    if (this.#redis.status !== "ready") return undefined;
    return Promise.race([
      this.#redis.xrevrange(streamOf(this.#redis), "+", "-", "COUNT", 1),
      sleep(ANSWER_MS, undefined),
    ]);
  }

  async #read(after: number): Promise<{ readonly frame: Frame; readonly previous: number }[]> {
    const answer = await this.#redis.xread(
      "COUNT",
      BATCH,
      "BLOCK",
      BLOCK_MS,
      "STREAMS",
      streamOf(this.#redis),
      entryId(after),
    );
    const entries = answer?.[0]?.[1] ?? [];
    return entries.map(([entry, fields]) => {
      const [, message = "", , previous] = fields;
      return { frame: frameOf(eventIdOf(entry), subjectOf(message), message), previous: Number(previous) };
    });
  }

  /** Reads trimmed events from the log; events that were in the stream are certainly committed. */
  async #missed(after: number, upTo: number, signal: AbortSignal): Promise<readonly Frame[]> {
    const events = await this.#log.read({ after, limit: BATCH, settled: upTo });
    // Another process already sees them; this one will soon.
    if (events.length === 0) await sleep(POLL_INTERVAL_MS, undefined, { signal });
    return events.map(frameOfLogged);
  }
}

/** @throws {Error} for an entry that was not written by a relay. */
function subjectOf(message: string): string {
  const event: unknown = JSON.parse(message);
  if (typeof event === "object" && event !== null && "subject" in event && typeof event.subject === "string")
    return event.subject;
  throw new Error("an entry of the stream is not an event");
}
