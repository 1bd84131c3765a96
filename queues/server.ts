import { createConnection, Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import { AbstractConnector, Redis, type RedisOptions } from "ioredis";
import { Repeat } from "../src/platform/repeat.ts";
import { connectProducer, connectWorker } from "./connection.ts";
import { isOfSelect } from "./errors.ts";
import { usePrefix } from "./keys.ts";
import { ForeignRedisError, Marker } from "./marker.ts";

/** Milliseconds for connecting, and for every answer, when it is checked whose Redis it is. */
const CHECK_TIMEOUT_MS = 2_000;
/** Milliseconds that the other side has to end a connection. */
const DISCONNECT_TIMEOUT_MS = 2_000;
const DEFAULT_PORT = 6379;
/** Milliseconds between two looks whether the marker is still this database's. */
const WATCH_INTERVAL_MS = 2_000;
/**
 * Milliseconds for which a process that was refused leaves an empty Redis alone: whose it was has that time to find that the
 * data is lost, and to write its marker again.
 */
const WAIT_FOR_OWNER_MS = 10_000;

export type ConnectionOptions = Pick<
  RedisOptions,
  | "lazyConnect"
  | "maxRetriesPerRequest"
  | "commandTimeout"
  | "connectTimeout"
  | "disconnectTimeout"
  | "retryStrategy"
>;

type NetStream = Awaited<ReturnType<AbstractConnector["connect"]>>;

/** Redis has no database of the index that REDIS_URL names, or does not let it be used. */
export class RedisDatabaseError extends Error {
  override name = "RedisDatabaseError";
}

export interface RedisServerOptions {
  readonly url: string;
  /** What all keys stand under. */
  readonly prefix: string;
  /** The identity of the database whose orders the jobs are. */
  readonly installation: () => Promise<string>;
}

/**
 * The Redis of a process, and all its connections. None of them becomes ready before it is known that this Redis is of the
 * same installation as the MySQL database, and has the database that the address names; when Redis turns out to be somebody
 * else's, all are cut off. So to everybody who uses them such a Redis is one that cannot be reached: jobs wait, the health
 * check says why, and everything goes on when it is mended.
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

  /** With options of one's own. */
  connect(options: ConnectionOptions): Redis {
    return this.#opened(new Redis(this.#options.url, { ...options, ...this.#guarded }));
  }

  /**
   * Whether this Redis may be used. One that is empty becomes this installation's.
   *
   * @throws {ForeignRedisError} {RedisDatabaseError}, or what Redis or the database met.
   */
  check(): Promise<void> {
    return (this.#checking ??= this.#check().finally(() => (this.#checking = undefined)));
  }

  /**
   * The same when a process starts: one that is away, now, is no reason not to.
   *
   * @throws {ForeignRedisError} {RedisDatabaseError}
   */
  async checkAtStart(): Promise<void> {
    await this.check().catch((error: unknown) => {
      if (error instanceof ForeignRedisError || error instanceof RedisDatabaseError) throw error;
    });
  }

  /** Looks at the marker over this connection from time to time: all may have been lost, and another have come first. */
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

  /** Looks no more. */
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
    const { url, prefix, installation } = this.#options;
    // One of its own, so that no connection is used before.
    const redis = new Redis(url, {
      lazyConnect: true,
      maxRetriesPerRequest: 0,
      commandTimeout: CHECK_TIMEOUT_MS,
      connectTimeout: CHECK_TIMEOUT_MS,
      // ioredis waits so long for the end of a connection that came to nothing, and the process with it.
      disconnectTimeout: 100,
      retryStrategy: () => null,
    });
    usePrefix(redis, prefix);
    let failure: unknown;
    redis.on("error", (error) => (failure ??= isOfSelect(error) ? noDatabase(url, error) : error));
    try {
      await redis.connect();
      // Connected all the same, to database 0.
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
  /** @throws {Error} when there are to be none. */
  readonly check: () => Promise<void>;
  readonly connected: Set<NetStream>;
}

/** Connects when it is known that the server may be used. */
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
      // ioredis tries again later, as after every connection that came to nothing.
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
