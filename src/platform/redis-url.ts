import { decoded } from "./decoded.ts";
import { faultOfHost } from "./host-fault.ts";

const EXAMPLE = "redis://:password@host:6379/0";
/** IPv4 only, IPv6 only, or both. */
const FAMILIES = new Set(["0", "4", "6"]);

/**
 * What is wrong with a Redis URL, as a phrase to follow its name; undefined if it is valid. This is strict
 * because ioredis accepts options in the query and any path as the database.
 */
export function faultOfRedisUrl(url: string): string | undefined {
  if (!/^rediss?:\/\//i.test(url)) return "must start with redis:// or rediss://";
  const fault = faultOfHost(url, EXAMPLE);
  if (fault !== undefined) return fault;
  const { pathname, searchParams, username, password } = new URL(url);
  if ([username, password].some((part) => decoded(part) === undefined))
    return "must have a % in its user name or password written as %25";
  if (!/^\/?$|^\/(0|[1-9]\d{0,5})$/.test(pathname))
    return "must have a database index, a whole number, as its path, or none: redis://host:6379/0";
  for (const [name, value] of searchParams) {
    if (name !== "family" || !FAMILIES.has(value))
      return "must have no query except family=4 or family=6; the database goes in the path, as in redis://host:6379/0";
  }
  return undefined;
}
