import { Cluster, Redis, type ClusterOptions, type RedisOptions } from "ioredis";
import { redisAddress } from "../src/platform/redis-url.ts";
import { isOfSelect, isReadOnlyReply } from "./errors.ts";

/*
 * Opens every connection to Redis, however it is run: one server, the master that Sentinels name, or a cluster. A
 * connection to a cluster consists of one to each node that it has spoken to.
 */

/** A connection to Redis. In a cluster, each command goes to the shard of its keys, so all of these must share a slot. */
export type Connection = Redis | Cluster;

/** What replaces ioredis' own way to open a socket. */
export type Guard = Pick<RedisOptions, "Connector">;

/** Milliseconds after which a producer gives up on Redis. */
const PRODUCER_TIMEOUT_MS = 1_000;
/**
 * Milliseconds without an answer after which a connection is replaced. Dropped packets close no connection, and
 * the system would wait for a quarter of an hour. Must exceed the 10 seconds for which BullMQ's commands block
 * until there is a job.
 */
const PRODUCER_SILENCE_MS = 3_000;
const WORKER_SILENCE_MS = 15_000;
/** Timeout of connecting and of every command for a single look, in milliseconds; long enough for a busy machine. */
const LOOK_TIMEOUT_MS = 3_000;
/** Minimum milliseconds between reconnects because of a replica. */
const RECONNECT_INTERVAL_MS = 1_000;
/** Milliseconds in which the answers to what was sent before a reconnect arrive. */
const BURST_MS = 200;
/** Milliseconds for a Sentinel to answer before the next is asked. */
const SENTINEL_TIMEOUT_MS = 1_000;
/** Milliseconds for a node to say which slots are where, a check of whose Redis it is included. */
const SLOTS_TIMEOUT_MS = 2_000;
/** Milliseconds until a command is sent again whose node is gone. */
const FAILOVER_DELAY_MS = 100;

/** Those of every node. */
type NodeOptions = Omit<RedisOptions, "replyMapping">;

/** How a command's user waits for Redis: in ioredis' terms, for each node and for a cluster as a whole. */
interface Manner {
  readonly node: NodeOptions;
  readonly cluster: ClusterOptions;
}

/**
 * For processes that must never wait for Redis: a command fails at once while Redis is away, and after a second
 * without an answer. A failed command may still have taken effect.
 */
export function connectProducer(url: string, guard: Guard = {}): Connection {
  return open(url, guard, {
    node: {
      enableOfflineQueue: false,
      maxRetriesPerRequest: 0,
      commandTimeout: PRODUCER_TIMEOUT_MS,
      connectTimeout: PRODUCER_TIMEOUT_MS,
      socketTimeout: PRODUCER_SILENCE_MS,
      reconnectOnError: leaveReplica("reject"),
    },
    cluster: {
      enableOfflineQueue: false,
      maxRedirections: PRODUCER_TIMEOUT_MS / FAILOVER_DELAY_MS,
    },
  });
}

/** For workers, which wait until Redis is back. BullMQ requires these settings. */
export function connectWorker(url: string, guard: Guard = {}): Connection {
  return open(url, guard, {
    node: {
      maxRetriesPerRequest: null,
      socketTimeout: WORKER_SILENCE_MS,
      reconnectOnError: leaveReplica("resend"),
    },
    // BullMQ takes an error of a cluster for a failed attempt.
    cluster: { maxRedirections: Infinity },
  });
}

/** For a single look, which fails rather than waits. {@link establish} connects it. */
export function connectOnce(url: string, guard: Guard = {}): Connection {
  return open(url, guard, {
    node: {
      lazyConnect: true,
      maxRetriesPerRequest: 0,
      commandTimeout: LOOK_TIMEOUT_MS,
      connectTimeout: LOOK_TIMEOUT_MS,
      // ioredis waits this long to close a failed connection, and keeps the process alive.
      disconnectTimeout: 100,
      retryStrategy: () => null,
      sentinelRetryStrategy: () => null,
    },
    cluster: { lazyConnect: true, maxRedirections: 1, clusterRetryStrategy: () => null },
  });
}

/** Establishes a connection for a single look. @throws {Error} if Redis is away. */
export async function establish(redis: Connection): Promise<void> {
  // ioredis never settles its own promise if a cluster says that it is not whole.
  const ended = new Promise<never>((_, reject) => {
    redis.once("end", () => reject(new Error("Connection is closed.")));
  });
  await Promise.race([redis.connect(), ended]);
}

function open(url: string, guard: Guard, { node, cluster }: Manner): Connection {
  const { kind, hosts, socket, master, tls, database, family, ...logins } = redisAddress(url);
  const { username, password, sentinelUsername, sentinelPassword } = logins;
  const options: NodeOptions = {
    ...node,
    ...guard,
    family,
    ...(username !== undefined && { username }),
    ...(password !== undefined && { password }),
    ...(tls && { tls: {} }),
  };
  switch (kind) {
    case "cluster":
      return new Cluster([...hosts], {
        ...cluster,
        redisOptions: options,
        retryDelayOnFailover: FAILOVER_DELAY_MS,
        slotsRefreshTimeout: SLOTS_TIMEOUT_MS,
        // A certificate names the host, not its address.
        dnsLookup: (host, callback) => callback(null, host),
      });
    case "sentinel":
      return neverElsewhere(
        new Redis({
          ...options,
          db: database,
          sentinels: [...hosts],
          ...(master !== undefined && { name: master }),
          ...(tls && { enableTLSForSentinelMode: true, sentinelTLS: {} }),
          ...(sentinelUsername !== undefined && { sentinelUsername }),
          ...(sentinelPassword !== undefined && { sentinelPassword }),
          sentinelCommandTimeout: SENTINEL_TIMEOUT_MS,
        }),
      );
    case "single":
      return neverElsewhere(
        new Redis({ ...options, ...hosts[0], ...(socket && { path: socket }), db: database }),
      );
  }
}

/** Whether the keys of this connection are spread over several servers, of which one can lose its data alone. */
export function isSharded(redis: Connection): redis is Cluster {
  return redis instanceof Cluster;
}

/** A command's name and arguments. */
export type RedisCommand = readonly [name: string, ...args: (string | number)[]];

/**
 * Sends commands, each for a key of its own, in as few round trips as there are shards.
 *
 * @returns the replies. @throws {Error} the first one.
 */
export async function send(redis: Connection, commands: readonly RedisCommand[]): Promise<unknown[]> {
  // A pipeline would have to stay in one shard.
  if (isSharded(redis)) return Promise.all(commands.map(([name, ...args]) => redis.call(name, ...args)));
  const replies = (await redis.pipeline(commands.map((command) => [...command])).exec()) ?? [];
  return replies.map(([error, reply]) => {
    if (error) throw error;
    return reply;
  });
}

/** If the configured database can't be selected, ioredis would use database 0; reconnect instead. */
function neverElsewhere(redis: Redis): Redis {
  return redis.on("error", (error) => {
    if (isOfSelect(error)) redis.disconnect(true);
  });
}

/**
 * After a failover, the address leads to the new primary, but existing connections still lead to the old one,
 * which takes no writes: reconnect. What was refused meanwhile fails, and its caller decides whether to retry, or
 * it is sent again over the new connection. Limited in rate, since a Redis may also be read-only for good.
 */
function leaveReplica(refused: "reject" | "resend"): NonNullable<RedisOptions["reconnectOnError"]> {
  let left = -Infinity;
  return (error) => {
    if (!isReadOnlyReply(error)) return false;
    const sinceMs = performance.now() - left;
    if (sinceMs > BURST_MS && sinceMs < RECONNECT_INTERVAL_MS) return false;
    if (sinceMs > BURST_MS) left = performance.now();
    return refused === "resend" ? 2 : 1;
  };
}
