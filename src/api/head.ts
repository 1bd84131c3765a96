import type { IncomingMessage } from "node:http";
import { decoded } from "../platform/decoded.ts";
import { Problem } from "./problem.ts";
import { SEND_UTF8 } from "./validate.ts";

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

/** A charset, also as RFC 8187 writes it. Which of several counts, not all agree. */
const CHARSET = /;\s*charset(\*?)\s*=\s*("[^"]*"|[^\s;]*)/gi;

const UNREADABLE = "the address cannot be read";

/**
 * Reads a request's target, and its head as far as it concerns all requests.
 *
 * @returns the target's path and query, also if it is a whole URL (RFC 9112, section 3.2.2); or what another program on the
 * way, or the client's own library, would read otherwise than we do.
 */
export function readHead({ url = "", headers, rawHeaders, httpVersion }: IncomingMessage): string | Problem {
  const repeated = repeatedOf(rawHeaders);
  if (repeated !== undefined) return malformed(`there is more than one header ${repeated}`);
  const coding = headers["transfer-encoding"];
  if (coding !== undefined && coding.toLowerCase() !== "chunked")
    return malformed("the header transfer-encoding can only be chunked");
  if (coding !== undefined && httpVersion === "1.0")
    return malformed("HTTP/1.0 has no header transfer-encoding");
  const [charset, another] = headers["content-type"]?.matchAll(CHARSET) ?? [];
  if (another) return malformed("the header content-type has more than one charset");
  if (charset && (charset[1] || !/^(utf-8|"utf-8")$/i.test(charset[2] ?? "")))
    return new Problem(415, "unsupported-media-type", { detail: SEND_UTF8 });
  if (headers.host !== undefined && !AUTHORITY.test(headers.host))
    return malformed("the header host is not the name of a host");
  if (url === "*") return url;
  if (url.startsWith("/")) return checked(url);
  const [, host = "", rest = ""] = WHOLE_URL.exec(url) ?? [];
  if (!AUTHORITY.test(host)) return malformed(UNREADABLE);
  if (headers.host?.toLowerCase() !== host.toLowerCase())
    return malformed("the host in the address is not that of the header host");
  return checked(rest.startsWith("/") ? rest : `/${rest}`);
}

function malformed(detail: string): Problem {
  return new Problem(400, "malformed-request", { detail });
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

function checked(target: string): string | Problem {
  const [path = ""] = target.split("?", 1);
  const query = target.slice(path.length);
  // Parsers of queries make something up for bytes that are no UTF-8, and for a % that encodes nothing.
  if (!PATH.test(path) || !QUERY.test(query) || decoded(query) === undefined) return malformed(UNREADABLE);
  return UNSTABLE_SEGMENT.test(path)
    ? malformed("the address has an empty segment, . or .. in its path")
    : target;
}
