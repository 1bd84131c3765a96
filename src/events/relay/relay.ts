import type { Redis } from "ioredis";
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

/** Events of one go: some milliseconds' work for MySQL, Redis and this process each. */
const BATCH = 500;
/** Milliseconds between two looks when nobody says that there is something: for new events, and for the lease. */
const LOOK_INTERVAL_MS = 1_000;
/** Milliseconds after which it is checked that the stream still is as it was left, when no batch has done that. */
const CHECK_INTERVAL_MS = 900;
/** Milliseconds between two notes in MySQL of how far it has come. */
const NOTE_INTERVAL_MS = 1_000;

export interface RelayOptions {
  readonly database: Database;
  /** Fails fast; of the relay's own, so that nobody waits behind its batches. */
  readonly redis: Redis;
  /** Opens a connection to listen on, while this worker feeds the stream. */
  readonly connectListener: () => Redis;
  /** Entries that the stream keeps at the least. */
  readonly length: number;
  readonly log: Logger;
  readonly events?: EventLog;
}

/** How far the stream is. */
interface Place {
  /** The fencing token under which it was found. */
  readonly token: number;
  /** The event that the stream ends with; 0 for one that is empty. */
  readonly end: number;
  /** Up to here all is in it that should be. */
  readonly position: number;
}

/**
 * Copies the log of events to the Redis Stream, one worker at a time: at least once, and in the order of the log.
 *
 * The stream is a window on the newest part of the log. Its entries have the ids of their events, so where it ends, says
 * where to go on. Where Redis has lost it, MySQL knows how far it had come, and the window before that is filled again: what
 * readers have not had yet may stand there. So events come again, with the same ids, but as many as the window has and no
 * more.
 *
 * It asks MySQL when somebody who has written events says so, and once a second anyway, in batches by primary key: an idle
 * service pays a handful of commands a second, and an order nothing.
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
    everyMs: LOOK_INTERVAL_MS,
    onError: (error) => this.#giveUp(error),
  });
  #place: Place | undefined;
  #checkedAt = -Infinity;
  #noted = { position: -1, at: -Infinity };

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

  /** How far the stream is behind the log, whoever feeds it. Two reads by primary key. @throws {DatabaseError} */
  lag(): Promise<RelayLag> {
    return readRelayLag(this.#options.database, "stream");
  }

  /** Begins to look for events. */
  start(): void {
    this.#options.redis.on("ready", () => this.#rounds.wake());
    this.#rounds.start();
  }

  /** Ends after the batch under way, and lets another worker go on. */
  async stop(): Promise<void> {
    await this.#rounds.stop();
    this.#subscriber.unsubscribe();
    await this.#lease.release().catch((error: unknown) => {
      this.#options.log.warn(
        { error: describeError(error) },
        "could not release the lease: another worker relays once it expires",
      );
    });
  }

  /** One batch, if this worker has the lease. @returns 0 when there may be more. @throws of MySQL or Redis. */
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
    await this.#note();
    return events.length === BATCH ? 0 : undefined;
  }

  async #takeOver(token: number): Promise<Place> {
    const place = await this.#find(token);
    this.#place = place;
    this.#checkedAt = performance.now();
    this.#subscriber.subscribe();
    this.#options.log.info({ ...place }, "feeding the stream of events");
    return place;
  }

  /** Now and then, whether Redis still has the stream. @throws {StreamChangedError} {Error} of Redis. */
  async #check({ token, end }: Place): Promise<void> {
    const now = performance.now();
    if (now - this.#checkedAt < CHECK_INTERVAL_MS) return;
    const found = await this.#stream.claim(token);
    if (found !== end) throw new StreamChangedError(`the stream ends with ${found} instead of ${end}`);
    this.#checkedAt = now;
  }

  /** Where to go on. */
  async #find(token: number): Promise<Place> {
    const { database, length, log } = this.#options;
    const [end, newest] = [await this.#stream.claim(token), await this.#events.newest()];
    if (end > 0 && end <= newest) return { token, end, position: end };
    if (end > newest) {
      log.warn({ end, newest }, "the stream is of another log of events: it begins anew");
      await this.#stream.remove(token);
    }
    const known = await findPosition(database, "stream");
    const reached = known === undefined || known > newest ? newest : known;
    if (known !== undefined && known > newest) await savePosition(database, "stream", 0, { backwards: true });
    return { token, end: 0, position: Math.max(0, reached - length) };
  }

  /** Now and then: there is a look every second, after which it is noted where it has stopped. */
  async #note(): Promise<void> {
    const position = this.#place?.position;
    const now = performance.now();
    if (position === undefined || position === this.#noted.position) return;
    if (now - this.#noted.at < NOTE_INTERVAL_MS) return;
    try {
      await savePosition(this.#options.database, "stream", position);
      this.#noted = { position, at: now };
    } catch (error) {
      if (!isDatabaseUnavailable(error)) throw error;
      // Where the stream stands it says itself; this is only for one that has lost its data. Reading may go on.
      this.#options.log.debug({ error: describeError(error) }, "could not record the position of the stream");
      this.#noted = { ...this.#noted, at: now };
    }
  }

  async #giveUp(failure: unknown): Promise<void> {
    const { log } = this.#options;
    this.#place = undefined;
    const error = describeError(failure);
    if (failure instanceof StreamChangedError) log.warn({ error }, "looking where to go on");
    else if (isRedisUnavailable(failure)) log.debug({ error }, "could not relay events");
    else {
      log.warn({ error }, "could not relay events: trying again");
      // Another worker may get on better, with MySQL for example.
      await this.#lease.release().catch(() => undefined);
    }
  }
}
