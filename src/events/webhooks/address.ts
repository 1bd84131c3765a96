import { isIP } from "node:net";
import { COLUMN_LENGTHS } from "../../../db/column-lengths.ts";
import type { Networks } from "./networks.ts";

/**
 * Why this URL can't be used for a webhook; undefined if it can. Host names are checked again with every
 * connection, since what they resolve to changes.
 */
export function faultOfAddress(text: string, networks: Networks): string | undefined {
  if (!URL.canParse(text)) return "must start with https:// or http://";
  const url = new URL(text);
  if (url.protocol !== "https:" && url.protocol !== "http:") return "must start with https:// or http://";
  if (url.href.length > COLUMN_LENGTHS.webhookUrl)
    return `must have at most ${COLUMN_LENGTHS.webhookUrl} characters`;
  if (url.username !== "" || url.password !== "") return "must not contain a user or password";
  if (url.hash !== "") return "must not contain a fragment";
  const host = hostOf(url);
  const isAllowed = isLocalName(host)
    ? networks.allows("127.0.0.1")
    : isIP(host) === 0 || networks.allows(host);
  return isAllowed
    ? undefined
    : "must lead to the public Internet: this address is private and not in WEBHOOK_ALLOWED_NETWORKS";
}

/** The URL's host for DNS and sockets: without IPv6 brackets and trailing dot. */
export function hostOf({ hostname }: URL): string {
  return hostname.replace(/^\[(.*)\]$/, "$1").replace(/\.$/, "");
}

/** Whether the name always means this computer (RFC 6761). */
export function isLocalName(host: string): boolean {
  return host === "localhost" || host.endsWith(".localhost");
}
