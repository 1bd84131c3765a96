import type { Connection } from "../../../queues/connection.ts";
import type { Database } from "../../../db/database.ts";
import { EventLog } from "../../../db/event-log.ts";
import { DatabaseLease } from "../../../db/leases.ts";
import { findPosition, readRelayLag, savePosition, type RelayLag } from "../../../db/relay-positions.ts";
import { isDatabaseUnavailable } from "../../platform/storage-error.ts";
import { isRedisUnavailable } from "../../../queues/errors.ts";
import { toMessage } from "../message.ts";
import { EventSubscriber } from "../subscriber.ts";
import type { Logger } from "../../platform/log.ts";
import type { Service } from "../../platform/service.ts";
import { describeError } from "../../platform/describe-error.ts";
import { Repeat } from "../../platform/repeat.ts";
import { EventStream, StreamChangedError } from "./event-stream.ts";

/** Events per batch: a few milliseconds each for MySQL, Redis and this process. */
const BATCH = 500;
/** Milliseconds between two polls, for new events and for the lease, in the absence of notifications. */
const POLL_INTERVAL_MS = 1_000;
/** Milliseconds without a batch after which the stream is checked for changes. */
const CHECK_INTERVAL_MS = 900;
/** Milliseconds between two saves of the position in MySQL. */
const SAVE_INTERVAL_MS = 1_000;

export interface RelayOptions {
  readonly database: Database;
  /** Fails fast. A dedicated connection, so that nothing queues behind the relay's batches. */
  readonly redis: Connection;
  /** Opens a connection to listen for notifications, while this worker feeds the stream. */
  readonly connectListener: () => Connection;
  /** Minimum number of entries that the stream keeps. */
  readonly length: number;
  readonly log: Logger;
  readonly events?: EventLog;
}

/** The state of the stream. */
interface Place {
  /** The fencing token under which it was read. */
  readonly token: number;
  /** The stream's last event; 0 if it is empty. */
  readonly end: number;
  /** All events up to here are in the stream. */
  readonly position: number;
}

/**
 * Copies the log of events to the Redis Stream, one worker at a time: at least once, and in the order of the log.
 *
 * The stream holds the newest part of the log. Its entries have the ids of their events, so its last entry says where to
 * continue. If Redis loses the stream, the relay adds the events before the position saved in MySQL again, since readers may
 * not have read them all. So events may be repeated, with the same ids, but at most as many as the stream holds.
 *
 * It reads MySQL when notified of new events, and once a second anyway, in batches by primary key: an idle service costs a
 * few commands per second, and an order costs nothing.
 */
export class Relay implements Service {
  readonly name = "relay";
  readonly #options: RelayOptions;
  readonly #events: EventLog;
  readonly #stream: EventStream;
  readonly #lease: DatabaseLease;
  readonly #subscriber: EventSubscriber;
  readonly #rounds = new Repeat({
    run: () => this.#round(),
    everyMs: POLL_INTERVAL_MS,
    onError: (error) => this.#handle(error),
  });
  #place: Place | undefined;
  #checkedAt = -Infinity;
  #saved = { position: -1, at: -Infinity };

  constructor(options: RelayOptions) {
    const { database, redis, length } = options;
    this.#options = options;
    this.#subscriber = new EventSubscriber(options.connectListener, () => this.#rounds.wake());
    this.#events = options.events ?? new EventLog(database);
    this.#stream = new EventStream({ redis, length });
    this.#lease = new DatabaseLease(database, "stream");
  }

  /** Whether this worker feeds the stream now, as far as it knows. */
  get leads(): boolean {
    return this.#place !== undefined;
  }

  /** How far the stream is behind the log, whichever worker feeds it. Two reads by primary key. @throws {DatabaseError} */
  lag(): Promise<RelayLag> {
    return readRelayLag(this.#options.database, "stream");
  }

  /** Starts relaying events. */
  start(): void {
    this.#options.redis.on("ready", () => this.#rounds.wake());
    this.#rounds.start();
  }

  /** Stops after the current batch, and lets another worker take over. */
  async stop(): Promise<void> {
    await this.#rounds.stop();
    this.#subscriber.unsubscribe();
    await this.#lease.release();
  }

  /** One batch, if this worker holds the lease. @returns 0 if there may be more. @throws {Error} of MySQL or Redis. */
  async #round(): Promise<number | undefined> {
    if (this.#options.redis.status !== "ready") return undefined;
    const token = await this.#lease.hold();
    if (token === undefined) {
      this.#place = undefined;
      this.#subscriber.unsubscribe();
      return undefined;
    }
    const place = this.#place?.token === token ? this.#place : await this.#takeOver(token);
    const events = await this.#events.read({ after: place.position, limit: BATCH });
    const last = events.at(-1)?.id;
    if (last === undefined) await this.#check(place);
    else {
      const messages = events.map((event) => ({ id: event.id, message: JSON.stringify(toMessage(event)) }));
      await this.#stream.append(messages, { ...place, previous: place.position });
      this.#place = { token, end: last, position: last };
      this.#checkedAt = performance.now();
    }
    await this.#save();
    return events.length === BATCH ? 0 : undefined;
  }

  async #takeOver(token: number): Promise<Place> {
    const place = await this.#find(token);
    this.#place = place;
    this.#checkedAt = performance.now();
    this.#subscriber.subscribe();
    this.#options.log.info({ ...place }, "feeding the event stream");
    return place;
  }

  /** Checks from time to time that Redis still has the stream. @throws {StreamChangedError} {Error} of Redis. */
  async #check({ token, end }: Place): Promise<void> {
    const now = performance.now();
    if (now - this.#checkedAt < CHECK_INTERVAL_MS) return;
    const found = await this.#stream.claim(token);
    if (found !== end) throw new StreamChangedError(`the stream ends with ${found} instead of ${end}`);
    this.#checkedAt = now;
  }

  /** Finds out where to continue. */
  async #find(token: number): Promise<Place> {
    const { database, length, log } = this.#options;
    const [end, newest] = [await this.#stream.claim(token), await this.#events.newest()];
    if (end > 0 && end <= newest) return { token, end, position: end };
    if (end > newest) {
      log.warn({ end, newest }, "the stream belongs to another event log: removing it");
      await this.#stream.remove(token);
    }
    const known = await findPosition(database, "stream");
    const reached = known === undefined || known > newest ? newest : known;
    if (known !== undefined && known > newest) await savePosition(database, "stream", 0, { backwards: true });
    return { token, end: 0, position: Math.max(0, reached - length) };
  }

  /** Saves the position, at most once a second. The poll every second saves the last one. */
  async #save(): Promise<void> {
    const position = this.#place?.position;
    const now = performance.now();
    if (position === undefined || position === this.#saved.position) return;
    if (now - this.#saved.at < SAVE_INTERVAL_MS) return;
    try {
      await savePosition(this.#options.database, "stream", position);
      this.#saved = { position, at: now };
    } catch (error) {
      if (!isDatabaseUnavailable(error)) throw error;
      // Only needed if Redis loses its data. Reads may still work.
      this.#options.log.debug({ error: describeError(error) }, "could not record the position of the stream");
      this.#saved = { ...this.#saved, at: now };
    }
  }

  async #handle(failure: unknown): Promise<void> {
    const { log } = this.#options;
    this.#place = undefined;
    const error = describeError(failure);
    if (failure instanceof StreamChangedError)
      log.warn({ error }, "the stream has changed: finding out where to continue");
    else if (isRedisUnavailable(failure)) log.debug({ error }, "could not relay events");
    else {
      log.warn({ error }, "could not relay events: retrying");
      // Another worker may be able to reach MySQL.
      await this.#lease.release();
    }
  }
}
