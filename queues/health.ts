import { isSharded, type Connection } from "./connection.ts";

/** A server that can't serve us, or will lose jobs. */
export class UnfitRedisError extends Error {
  override name = "UnfitRedisError";
}

/**
 * The version of a Redis, or of all masters of a cluster, that can be relied on: `7.0.15`.
 *
 * @throws {UnfitRedisError} if one evicts keys, and so deletes jobs at random, or if a cluster lacks a master;
 * {Error} of Redis.
 */
export async function checkServers(redis: Connection): Promise<string> {
  const versions = new Set<string>();
  for (const info of await readInfos(redis)) {
    const policy = /^maxmemory_policy:(\S+)/m.exec(info)?.[1];
    if (policy !== undefined && policy !== "noeviction")
      throw new UnfitRedisError(
        `maxmemory-policy is ${policy}; it must be noeviction, or Redis deletes jobs`,
      );
    versions.add(/^redis_version:(\S+)/m.exec(info)?.[1] ?? "unknown");
  }
  return [...versions].join(", ");
}

/** What INFO says of a Redis, or of all masters of a cluster. @throws {UnfitRedisError} if a cluster lacks one; {Error} of Redis. */
export async function readInfos(redis: Connection): Promise<string[]> {
  if (!isSharded(redis)) return [await redis.info()];
  const state = await redis.cluster("INFO");
  if (!state.includes("cluster_state:ok"))
    throw new UnfitRedisError("the cluster lacks masters for some slots");
  const expected = Number(/^cluster_size:(\d+)/m.exec(state)?.[1] ?? 1);
  const masters = redis.nodes("master");
  // A node that could not be reached is left out.
  if (masters.length < expected)
    throw new UnfitRedisError(`only ${masters.length} of the cluster's ${expected} masters can be reached`);
  return Promise.all(masters.map((master) => master.info()));
}
