const PROTOCOLS = new Set(["redis:", "rediss:"]);
/** Addresses of either family alone, or of both. */
const FAMILIES = new Set(["0", "4", "6"]);

/**
 * What is wrong with the address of a Redis, in words that follow its name; undefined for nothing. ioredis reads more from
 * an address than it should: options by their name in the query, and as the database whatever the path says.
 */
export function faultOfRedisUrl(url: string): string | undefined {
  if (!URL.canParse(url) || !PROTOCOLS.has(new URL(url).protocol))
    return "must be an address that begins with redis:// or rediss://";
  const { pathname, searchParams, hash, username, password } = new URL(url);
  if ([username, password].some((part) => !isDecodable(part)))
    return "must have a % in its user name or password written as %25";
  if (!/^\/?$|^\/(0|[1-9]\d{0,5})$/.test(pathname))
    return "must name a database by its index, a whole number such as 0, or none: redis://host:6379/0";
  for (const [name, value] of searchParams) {
    if (name !== "family" || !FAMILIES.has(value))
      return "must have nothing after a ? but family=4 or family=6: the database stands in the path, as in redis://host:6379/0";
  }
  return hash === "" ? undefined : "must have no #";
}

function isDecodable(text: string): boolean {
  try {
    decodeURIComponent(text);
    return true;
  } catch {
    return false;
  }
}
