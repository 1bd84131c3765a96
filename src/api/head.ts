import type { IncomingMessage } from "node:http";

/** Headers that have one value. Of several, a proxy might pass on, or act on, another than we do. */
const ONCE = new Set([
  "authorization",
  "content-type",
  "host",
  "idempotency-key",
  "last-event-id",
  "origin",
  "sec-fetch-site",
]);

/** The path of RFC 3986, section 3.3. What else there may be is read as something else by some, such as `\` as `/`. */
const PATH = /^[\w\-.~!$&'()*+,;=:@%/]*$/;
/** Browsers leave some characters as they are that RFC 3986 would have encoded. */
const QUERY = /^[\x21\x22\x24-\x7e]*$/;
/** `.`, `..` and nothing between slashes, which proxies and URL libraries take away; some decode the slashes first. */
const UNSTABLE_SEGMENT = /(?:\/|%2f|%5c)(?:(?:\.|%2e){0,2}(?:\/|%2f|%5c)|(?:\.|%2e){1,2}$)/i;
const AUTHORITY = /^(?:[\w\-.~]+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?$/;
/** Its host, and its path and query as they are written. Clients never send fragments. */
const WHOLE_URL = /^https?:\/\/([^/?#]*)([^#]*)$/i;

/** Which of several counts, not all agree. */
const CHARSET = /;\s*charset\s*=/gi;

const UNREADABLE = "the address cannot be read";

/**
 * Reads a request's target, and its head as far as it concerns all requests.
 *
 * @returns the target's path and query, also if it is a whole URL (RFC 9112, section 3.2.2); or what another program on the
 * way, or the client's own library, would read otherwise than we do.
 */
export function readHead({ url = "", headers, rawHeaders }: IncomingMessage): {
  readonly target?: string;
  readonly fault?: string;
} {
  const repeated = repeatedOf(rawHeaders);
  if (repeated !== undefined) return { fault: `there is more than one header ${repeated}` };
  if ((headers["content-type"]?.match(CHARSET)?.length ?? 0) > 1)
    return { fault: "the header content-type has more than one charset" };
  if (headers.host !== undefined && !AUTHORITY.test(headers.host))
    return { fault: "the header host is not the name of a host" };
  if (url === "*") return { target: url };
  if (url.startsWith("/")) {
    const fault = faultOfTarget(url);
    return fault === undefined ? { target: url } : { fault };
  }
  const [, host = "", rest = ""] = WHOLE_URL.exec(url) ?? [];
  if (!AUTHORITY.test(host)) return { fault: UNREADABLE };
  if (headers.host?.toLowerCase() !== host.toLowerCase())
    return { fault: "the host in the address is not that of the header host" };
  const target = rest.startsWith("/") ? rest : `/${rest}`;
  const fault = faultOfTarget(target);
  return fault === undefined ? { target } : { fault };
}

function repeatedOf(rawHeaders: readonly string[]): string | undefined {
  const seen = new Set<string>();
  for (let index = 0; index < rawHeaders.length; index += 2) {
    const name = rawHeaders[index]?.toLowerCase() ?? "";
    if (!ONCE.has(name)) continue;
    if (seen.has(name)) return name;
    seen.add(name);
  }
  return undefined;
}

function faultOfTarget(target: string): string | undefined {
  const [path = ""] = target.split("?", 1);
  if (!PATH.test(path) || !QUERY.test(target.slice(path.length))) return UNREADABLE;
  return UNSTABLE_SEGMENT.test(path) ? "the address has an empty segment, . or .. in its path" : undefined;
}
