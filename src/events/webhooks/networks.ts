import { BlockList, isIP } from "node:net";

/**
 * IPv4 addresses that are not the public Internet: IANA's special-purpose registry (RFC 6890), multicast, and
 * one cloud's metadata address, which is formally public.
 */
const NOT_PUBLIC_IPV4 = [
  "0.0.0.0/8",
  "10.0.0.0/8",
  "100.64.0.0/10",
  "127.0.0.0/8",
  "169.254.0.0/16",
  "172.16.0.0/12",
  "192.0.0.0/24",
  "192.0.2.0/24",
  "192.88.99.0/24",
  "192.168.0.0/16",
  "198.18.0.0/15",
  "198.51.100.0/24",
  "203.0.113.0/24",
  "224.0.0.0/4",
  "240.0.0.0/4",
  "168.63.129.16/32",
];
/** The allocated IPv6 range, which excludes loopback, link-local, unique local, multicast and embedded IPv4. */
const PUBLIC_IPV6 = ["2000::/3"];
/** Exceptions within it: protocol assignments (such as Teredo), documentation, and 6to4, which embeds IPv4. */
const NOT_PUBLIC_IPV6 = ["2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"];

const notPublic = blockList([...NOT_PUBLIC_IPV4, ...NOT_PUBLIC_IPV6]);
const publicIpv6 = blockList(PUBLIC_IPV6);

/** Decides which addresses may be reached: the public Internet and the allowed networks, such as `10.0.0.0/8`. */
export class Networks {
  readonly #allowed: BlockList;

  /** @throws {Error} if an entry is not a network: see {@link isNetwork}. */
  constructor(allowed: readonly string[] = []) {
    this.#allowed = blockList(allowed);
  }

  /** Whether connections to this address are allowed; false if it is not an address. */
  allows(address: string): boolean {
    const family = isIP(address);
    if (family === 0) return false;
    const type = family === 4 ? "ipv4" : "ipv6";
    // BlockList checks an embedded IPv4 address as IPv4.
    if (this.#allowed.check(address, type)) return true;
    return !notPublic.check(address, type) && (family === 4 || publicIpv6.check(address, type));
  }
}

/** Whether the text is a network in CIDR notation. */
export function isNetwork(text: string): boolean {
  const [, address = "", prefix = ""] = /^([^/]+)\/(\d{1,3})$/.exec(text) ?? [];
  const family = isIP(address);
  return family !== 0 && !address.includes("%") && Number(prefix) <= (family === 4 ? 32 : 128);
}

function blockList(networks: readonly string[]): BlockList {
  const list = new BlockList();
  for (const network of networks) {
    if (!isNetwork(network)) throw new Error(`${network} is not a network`);
    const [address = "", prefix] = network.split("/");
    list.addSubnet(address, Number(prefix), isIP(address) === 4 ? "ipv4" : "ipv6");
  }
  return list;
}
