import { setTimeout as delay } from "node:timers/promises";
import type { Redis } from "ioredis";

const STREAM = "conveyor:events";
const GROUP = "chaos";
const BATCH = 500;
const BLOCK_MS = 1_000;
const RETRY_MS = 100;

/** A stream entry. */
export interface ReadEntry {
  readonly id: number;
  readonly orderId: string;
}

/**
 * Reads the event stream with a consumer group, as another service would, and keeps every entry. If Redis loses
 * its data, it starts over and reads some events twice.
 */
export class StreamReader {
  readonly entries: ReadEntry[] = [];
  /** How often the group was created. */
  groups = 0;
  readonly #redis: Redis;
  #isClosed = false;
  readonly #reading: Promise<void>;

  /** @param redis the reader's own connection, whose commands wait while Redis is away. */
  constructor(redis: Redis) {
    this.#redis = redis;
    this.#reading = this.#read();
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#redis.disconnect();
    await this.#reading;
  }

  async #read(): Promise<void> {
    while (!this.#isClosed) {
      try {
        await this.#readOnce();
      } catch (error) {
        if (error instanceof Error && error.message.startsWith("NOGROUP")) await this.#begin();
        else if (!this.#isClosed) await delay(RETRY_MS);
      }
    }
  }

  async #begin(): Promise<void> {
    this.groups++;
    await this.#redis.xgroup("CREATE", STREAM, GROUP, "0", "MKSTREAM").catch(() => undefined);
  }

  async #readOnce(): Promise<void> {
    const answer: unknown = await this.#redis.xreadgroup(
      "GROUP",
      GROUP,
      "reader",
      "COUNT",
      BATCH,
      "BLOCK",
      BLOCK_MS,
      "NOACK",
      "STREAMS",
      STREAM,
      ">",
    );
    if (!Array.isArray(answer)) return;
    for (const [, entries] of answer)
      for (const [, fields] of entries) {
        const { id, subject } = JSON.parse(String(fields[1]));
        this.entries.push({ id: Number(id), orderId: String(subject) });
      }
  }
}
