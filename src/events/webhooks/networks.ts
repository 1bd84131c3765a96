import { BlockList, isIP } from "node:net";

/**
 * What is not the public Internet, of IPv4: the special-purpose registry of IANA (RFC 6890), multicast, and the address
 * under which one cloud has its metadata although it is public.
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
/** All that is given out of IPv6: loopback, link-local, unique local, multicast and embedded IPv4 lie outside. */
const PUBLIC_IPV6 = ["2000::/3"];
/** Within that: protocols' own (Teredo among them), documentation, and 6to4, which leads to any IPv4 address. */
const NOT_PUBLIC_IPV6 = ["2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"];

const notPublic = blockList([...NOT_PUBLIC_IPV4, ...NOT_PUBLIC_IPV6]);
const publicIpv6 = blockList(PUBLIC_IPV6);

/** Networks beyond the public Internet that may be reached: `10.0.0.0/8`, `fd00::/8`. */
export class Networks {
  readonly #allowed: BlockList;

  /** @throws {Error} for what is no network: see {@link isNetwork}. */
  constructor(allowed: readonly string[] = []) {
    this.#allowed = blockList(allowed);
  }

  /** Whether a connection to this address may be made. What is no address, may not. */
  allows(address: string): boolean {
    const family = isIP(address);
    if (family === 0) return false;
    const type = family === 4 ? "ipv4" : "ipv6";
    // An IPv4 address in an IPv6 one is looked up as what it is.
    if (this.#allowed.check(address, type)) return true;
    return !notPublic.check(address, type) && (family === 4 || publicIpv6.check(address, type));
  }
}

/** Whether this is an address and the length of its prefix. */
export function isNetwork(text: string): boolean {
  const [, address = "", prefix = ""] = /^([^/]+)\/(\d{1,3})$/.exec(text) ?? [];
  const family = isIP(address);
  return family !== 0 && !address.includes("%") && Number(prefix) <= (family === 4 ? 32 : 128);
}

function blockList(networks: readonly string[]): BlockList {
  const list = new BlockList();
  for (const network of networks) {
    if (!isNetwork(network)) throw new Error(`${network} is no network`);
    const [address = "", prefix] = network.split("/");
    list.addSubnet(address, Number(prefix), isIP(address) === 4 ? "ipv4" : "ipv6");
  }
  return list;
}
