import { Repeat } from "../src/platform/repeat.ts";
import { guardedBy, type NetStream } from "./checked-connector.ts";
import {
  connectOnce,
  connectProducer,
  connectWorker,
  establish,
  type Connection,
  type Guard,
} from "./connection.ts";
import { checkFit, faultOf, RedisUrlError } from "./fit.ts";
import { usePrefix } from "./keys.ts";
import { ForeignRedisError, Marker } from "./marker.ts";

/** Milliseconds between checks of the marker. */
const WATCH_INTERVAL_MS = 2_000;
/**
 * Milliseconds for which a refused process does not claim an empty Redis, so that the owner can notice the loss
 * and write its marker again.
 */
const WAIT_FOR_OWNER_MS = 10_000;

export interface RedisServerOptions {
  readonly url: string;
  /** The prefix of all keys. */
  readonly prefix: string;
  /** The identity of the database that the jobs belong to. */
  readonly installation: () => Promise<string>;
}

/**
 * A process's connections to Redis. None becomes ready before Redis is known to belong to the same installation
 * as the MySQL database and to have the configured database index; if Redis turns out to be another
 * installation's, all are closed. To its users such a Redis is unreachable: jobs wait, the health check says
 * why, and processing continues once it is fixed.
 */
export class RedisServer {
  readonly #options: RedisServerOptions;
  readonly #connected = new Set<NetStream>();
  #checking: Promise<void> | undefined;
  #looks: Repeat | undefined;
  #refusedAt = -Infinity;

  constructor(options: RedisServerOptions) {
    this.#options = options;
  }

  /** For processes that must never wait for Redis. */
  connectProducer(): Connection {
    return this.#opened(connectProducer(this.#options.url, this.#guarded));
  }

  /** For workers, which can. */
  connectWorker(): Connection {
    return this.#opened(connectWorker(this.#options.url, this.#guarded));
  }

  /** For a single look, which fails rather than waits. `establish` connects it. */
  connectOnce(): Connection {
    return this.#opened(connectOnce(this.#options.url, this.#guarded));
  }

  /**
   * Checks whether this Redis may be used, and claims an empty one.
   *
   * @throws {ForeignRedisError} {RedisUrlError}, or errors of Redis or the database.
   */
  check(): Promise<void> {
    return (this.#checking ??= this.#check().finally(() => (this.#checking = undefined)));
  }

  /**
   * The same at startup, where a Redis that is away is no error.
   *
   * @throws {ForeignRedisError} {RedisUrlError}
   */
  async checkAtStart(): Promise<void> {
    await this.check().catch((error: unknown) => {
      if (error instanceof ForeignRedisError || error instanceof RedisUrlError) throw error;
    });
  }

  /**
   * Checks the marker periodically over this connection: the data may have been lost, and Redis claimed by
   * another installation.
   */
  watch(redis: Connection): void {
    const marker = new Marker(redis, this.#options.installation);
    this.#looks = new Repeat({
      run: async () => {
        if (redis.status === "ready") await marker.claim();
      },
      everyMs: WATCH_INTERVAL_MS,
      onError: (error) => {
        if (error instanceof ForeignRedisError) this.#cutOff(error);
      },
    });
    this.#looks.start(WATCH_INTERVAL_MS);
  }

  /** Stops checking. */
  stop(): void {
    void this.#looks?.stop();
  }

  get #guarded(): Guard {
    return guardedBy({ check: () => this.check(), connected: this.#connected });
  }

  #opened(redis: Connection): Connection {
    usePrefix(redis, this.#options.prefix);
    return redis;
  }

  async #check(): Promise<void> {
    const { url, installation } = this.#options;
    // A connection of its own, so that no other is used before the check.
    const redis = this.#opened(connectOnce(url));
    let failure: unknown;
    redis.on("error", (error) => (failure ??= error));
    try {
      await establish(redis);
      await checkFit(redis, url);
      // It is connected anyway, to database 0.
      if (failure !== undefined) throw failure;
      const marker = new Marker(redis, installation);
      const wasRefused = performance.now() - this.#refusedAt < WAIT_FOR_OWNER_MS;
      if (wasRefused && (await marker.owner()) === undefined)
        throw new Error("Redis has lost the data of another installation: leaving that some time to go on");
      await marker.claim();
    } catch (error) {
      if (error instanceof ForeignRedisError) this.#refusedAt = performance.now();
      if (error instanceof RedisUrlError) throw error;
      throw faultOf(failure ?? error, url);
    } finally {
      redis.disconnect();
    }
  }

  #cutOff(error: ForeignRedisError): void {
    this.#refusedAt = performance.now();
    for (const stream of this.#connected) stream.destroy(error);
  }
}
