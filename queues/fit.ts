import type { Redis } from "ioredis";
import { redisAddress } from "../src/platform/redis-url.ts";
import { isSharded, type Connection } from "./connection.ts";
import { isOfSelect, reasonOf } from "./errors.ts";

/** REDIS_URL does not fit what it leads to. */
export class RedisUrlError extends Error {
  override name = "RedisUrlError";
}

/**
 * Checks that what answers is what the URL says: a client for one server strands jobs in a cluster, and writes to
 * nothing at a Sentinel.
 *
 * @throws {RedisUrlError} {Error} of Redis.
 */
export async function checkFit(redis: Connection, url: string): Promise<void> {
  if (isSharded(redis) || redisAddress(url).kind !== "single") return;
  const mode = await modeOf(redis);
  if (mode === "cluster")
    throw new RedisUrlError(
      `REDIS_URL leads to a node of a Redis Cluster as if it were all of it: write ${instead(url, "+cluster")}`,
    );
  if (mode === "sentinel") throw atSentinel(url);
}

/** What a failure to connect says about the URL; the failure itself if it says nothing, as when Redis is away. */
export function faultOf(failure: unknown, url: string): unknown {
  const { kind, master, database } = redisAddress(url);
  const reason = reasonOf(failure);
  const text = reason instanceof Error ? reason.message : String(reason);
  // They know no such command.
  if (isOfSelect(failure) && kind === "single" && /unknown command/i.test(text)) return atSentinel(url);
  if (isOfSelect(failure))
    return new RedisUrlError(
      `REDIS_URL names database ${database}, which Redis does not have: ${failure.message}`,
    );
  if (kind === "cluster" && /cluster support disabled/i.test(text))
    return new RedisUrlError(
      "REDIS_URL names a cluster, but what answers is a Redis of its own: write redis:// instead of redis+cluster://",
    );
  if (kind === "sentinel" && /unknown command/i.test(text))
    return new RedisUrlError(
      "REDIS_URL names Sentinels, but what answers is none: Sentinels usually listen on port 26379",
    );
  if (kind === "sentinel" && /no such master/i.test(text))
    return new RedisUrlError(`REDIS_URL names the master ${master}, which the Sentinels do not watch`);
  return reason;
}

function atSentinel(url: string): RedisUrlError {
  return new RedisUrlError(
    `REDIS_URL leads to a Sentinel as if it were a Redis: write ${instead(url, "+sentinel")}/mymaster, ` +
      "with the name of its master",
  );
}

/** standalone, cluster or sentinel; undefined where it may not be asked for. Valkey has another name for it. */
async function modeOf(redis: Redis): Promise<string | undefined> {
  const info = await redis.info("server").catch(() => "");
  return /^(?:redis|server)_mode:(\w+)/m.exec(info)?.[1];
}

/** The address without the login. */
function instead(url: string, suffix: string): string {
  const { tls, hosts } = redisAddress(url);
  const [{ host, port } = { host: "host", port: 0 }] = hosts;
  return `redis${tls ? "s" : ""}${suffix}://${host.includes(":") ? `[${host}]` : host}:${port}`;
}
