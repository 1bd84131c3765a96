import { createConnection, Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import { AbstractConnector, type Redis, type RedisOptions } from "ioredis";
import { Repeat } from "../src/platform/repeat.ts";
import { connectOnce, connectProducer, connectWorker } from "./connection.ts";
import { isOfSelect } from "./errors.ts";
import { usePrefix } from "./keys.ts";
import { ForeignRedisError, Marker } from "./marker.ts";

/** Milliseconds for the other side to close a connection. */
const DISCONNECT_TIMEOUT_MS = 2_000;
const DEFAULT_PORT = 6379;
/** Milliseconds between checks of the marker. */
const WATCH_INTERVAL_MS = 2_000;
/**
 * Milliseconds for which a refused process does not claim an empty Redis, so that the owner can notice the loss
 * and write its marker again.
 */
const WAIT_FOR_OWNER_MS = 10_000;

type NetStream = Awaited<ReturnType<AbstractConnector["connect"]>>;

/** The database index in REDIS_URL does not exist or can't be used. */
export class RedisDatabaseError extends Error {
  override name = "RedisDatabaseError";
}

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
  connectProducer(): Redis {
    return this.#opened(connectProducer(this.#options.url, this.#guarded));
  }

  /** For workers, which can. */
  connectWorker(): Redis {
    return this.#opened(connectWorker(this.#options.url, this.#guarded));
  }

  /** For a single look, which fails rather than waits. Connects when told to. */
  connectOnce(): Redis {
    return this.#opened(connectOnce(this.#options.url, this.#guarded));
  }

  /**
   * Checks whether this Redis may be used, and claims an empty one.
   *
   * @throws {ForeignRedisError} {RedisDatabaseError}, or errors of Redis or the database.
   */
  check(): Promise<void> {
    return (this.#checking ??= this.#check().finally(() => (this.#checking = undefined)));
  }

  /**
   * The same at startup, where a Redis that is away is no error.
   *
   * @throws {ForeignRedisError} {RedisDatabaseError}
   */
  async checkAtStart(): Promise<void> {
    await this.check().catch((error: unknown) => {
      if (error instanceof ForeignRedisError || error instanceof RedisDatabaseError) throw error;
    });
  }

  /**
   * Checks the marker periodically over this connection: the data may have been lost, and Redis claimed by
   * another installation.
   */
  watch(redis: Redis): void {
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

  get #guarded(): Pick<RedisOptions, "Connector"> {
    const { url } = this.#options;
    const connections = { check: () => this.check(), connected: this.#connected };
    return {
      Connector: class extends CheckedConnector {
        constructor() {
          super(url, connections);
        }
      },
    };
  }

  #opened(redis: Redis): Redis {
    usePrefix(redis, this.#options.prefix);
    return redis;
  }

  async #check(): Promise<void> {
    const { url, installation } = this.#options;
    // A connection of its own, so that no other is used before the check.
    const redis = this.#opened(connectOnce(url));
    let failure: unknown;
    redis.on("error", (error) => (failure ??= isOfSelect(error) ? noDatabase(url, error) : error));
    try {
      await redis.connect();
      // It is connected anyway, to database 0.
      if (failure !== undefined) throw failure;
      const marker = new Marker(redis, installation);
      const wasRefused = performance.now() - this.#refusedAt < WAIT_FOR_OWNER_MS;
      if (wasRefused && (await marker.owner()) === undefined)
        throw new Error("Redis has lost the data of another installation: leaving that some time to go on");
      await marker.claim();
    } catch (error) {
      if (error instanceof ForeignRedisError) this.#refusedAt = performance.now();
      throw failure ?? error;
    } finally {
      redis.disconnect();
    }
  }

  #cutOff(error: ForeignRedisError): void {
    this.#refusedAt = performance.now();
    for (const stream of this.#connected) stream.destroy(error);
  }
}

interface Connections {
  /** @throws {Error} if no connection may be used. */
  readonly check: () => Promise<void>;
  readonly connected: Set<NetStream>;
}

/** Connects once the server is known to be usable. */
class CheckedConnector extends AbstractConnector {
  readonly #url: URL;
  readonly #server: Connections;

  constructor(url: string, server: Connections) {
    super(DISCONNECT_TIMEOUT_MS);
    this.#url = new URL(url);
    this.#server = server;
  }

  async connect(): Promise<NetStream> {
    this.connecting = true;
    const { check, connected } = this.#server;
    const refusal = await check().then(
      () => undefined,
      (error: unknown) => (error instanceof Error ? error : new Error(String(error))),
    );
    if (!this.connecting) throw new Error("Connection is closed.");
    delete this.firstError;
    if (refusal) {
      // ioredis retries, as after every failed connection.
      this.firstError = refusal;
      return (this.stream = new Socket().destroy());
    }
    const stream = this.#open();
    connected.add(stream);
    stream.once("close", () => connected.delete(stream));
    stream.once("error", (error) => (this.firstError = error));
    return (this.stream = stream);
  }

  #open(): NetStream {
    const { protocol, hostname, port, searchParams } = this.#url;
    const address = {
      host: hostname.replace(/^\[|\]$/g, "") || "localhost",
      port: Number(port || DEFAULT_PORT),
      family: Number(searchParams.get("family") ?? 0),
    };
    return protocol === "rediss:" ? connectTls(address) : createConnection(address);
  }
}

function noDatabase(url: string, { message }: Error): RedisDatabaseError {
  const index = new URL(url).pathname.slice(1);
  return new RedisDatabaseError(`REDIS_URL names database ${index}, which Redis does not have: ${message}`);
}
