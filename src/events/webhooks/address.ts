import { isIP } from "node:net";
import { COLUMN_LENGTHS } from "../../../db/column-lengths.ts";
import type { Networks } from "./networks.ts";

/**
 * Why events cannot be sent to this address; undefined if they can, as far as its text tells. Where a name leads is
 * looked at with every connection, since that changes.
 */
export function faultOfAddress(text: string, networks: Networks): string | undefined {
  if (!URL.canParse(text)) return "must be an address that begins with https:// or http://";
  const url = new URL(text);
  if (url.protocol !== "https:" && url.protocol !== "http:")
    return "must be an address that begins with https:// or http://";
  if (url.href.length > COLUMN_LENGTHS.webhookUrl)
    return `must have at most ${COLUMN_LENGTHS.webhookUrl} characters`;
  if (url.username !== "" || url.password !== "") return "must be an address without user and password";
  if (url.hash !== "") return "must be an address without a fragment";
  const host = hostOf(url);
  const isAllowed = isLocalName(host)
    ? networks.allows("127.0.0.1")
    : isIP(host) === 0 || networks.allows(host);
  return isAllowed
    ? undefined
    : "must lead to the public Internet: this address is private, and not in WEBHOOK_ALLOWED_NETWORKS";
}

/** The host of an address, as DNS and sockets have it: without the brackets of IPv6, and without a dot at its end. */
export function hostOf({ hostname }: URL): string {
  return hostname.replace(/^\[(.*)\]$/, "$1").replace(/\.$/, "");
}

/** Names that always mean this computer (RFC 6761). */
export function isLocalName(host: string): boolean {
  return host === "localhost" || host.endsWith(".localhost");
}
