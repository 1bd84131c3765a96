import { setTimeout as sleep } from "node:timers/promises";
import type { Redis } from "ioredis";
import type { EventLog } from "../../../db/event-log.ts";
import { entryId, eventIdOf, streamOf } from "../stream.ts";
import { frameOf, frameOfLogged, type Frame } from "./frame.ts";

/** Events of one go. */
const BATCH = 500;
/** Milliseconds for which Redis holds back its answer while there is nothing new. */
const BLOCK_MS = 5_000;
/** Milliseconds that Redis has to say where the stream ends. */
const ANSWER_MS = 1_000;
/** Milliseconds between two looks into the log where there is no stream. */
const POLL_INTERVAL_MS = 500;

/** Where a process hears of new events: once for all who listen to it. */
export interface LiveSource {
  /** The last event there is. @throws {DatabaseError} */
  end(): Promise<number>;
  /** What came after an event, in order and without a gap; waits for it, and gives nothing after a while. @throws {Error} */
  next(after: number, signal: AbortSignal): Promise<readonly Frame[]>;
  close(): void;
}

/** The log itself, for a service without Redis. */
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
    // The log is its owner's to close.
  }
}

/**
 * The Redis Stream: one command that waits, whoever listens. MySQL is asked where the stream no longer has what was not
 * read in time, and where to begin while Redis is away.
 */
export class StreamSource implements LiveSource {
  readonly #log: EventLog;
  readonly #redis: Redis;

  /** @param redis waits while Redis is away; nobody else's, since it is held up by what it waits for. */
  constructor({ log, redis }: { readonly log: EventLog; readonly redis: Redis }) {
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

  /** What the stream has trimmed, from the log. What was passed on is settled, all of it. */
  async #missed(after: number, upTo: number, signal: AbortSignal): Promise<readonly Frame[]> {
    const events = await this.#log.read({ after, limit: BATCH, settled: upTo });
    // Another process sees it already; this one will at once.
    if (events.length === 0) await sleep(POLL_INTERVAL_MS, undefined, { signal });
    return events.map(frameOfLogged);
  }
}

/** @throws {Error} for what no relay has written; the next one removes it. */
function subjectOf(message: string): string {
  const event: unknown = JSON.parse(message);
  if (typeof event === "object" && event !== null && "subject" in event && typeof event.subject === "string")
    return event.subject;
  throw new Error("an entry of the stream is no event");
}
