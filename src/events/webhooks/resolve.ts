import { promises as dns } from "node:dns";
import { isIP, type LookupFunction } from "node:net";
import { callbackify } from "node:util";
import { isLocalName } from "./address.ts";
import type { Networks } from "./networks.ts";

/** Resolves a name to addresses. @throws {Error} with a DNS code, such as ENOTFOUND */
export type Resolve = (name: string) => Promise<readonly string[]>;

/** The host has no address that may be reached. */
export class AddressRefusedError extends Error {
  override name = "AddressRefusedError";
  constructor() {
    super("the address is private: see WEBHOOK_ALLOWED_NETWORKS");
  }
}

/** Timeout of a DNS query in milliseconds, and the number of tries. */
const QUESTION_MS = 2_000;
const QUESTIONS = 2;

/**
 * Queries DNS directly. The operating system's resolver would occupy one of the process's four I/O threads per
 * lookup, so four endpoints with hanging name servers would block all others.
 */
export function askDns(): Resolve {
  const resolver = new dns.Resolver({ timeout: QUESTION_MS, tries: QUESTIONS });
  return async (name) => {
    if (isLocalName(name)) return ["127.0.0.1", "::1"];
    const answers = await Promise.allSettled([resolver.resolve4(name), resolver.resolve6(name)]);
    const found = answers.flatMap((answer) => (answer.status === "fulfilled" ? answer.value : []));
    const [first] = answers;
    if (found.length === 0 && first.status === "rejected") throw first.reason;
    return found;
  };
}

/**
 * A lookup function for `net.connect` that returns only allowed addresses. The connection goes to the address
 * that was checked, which defeats DNS rebinding. It is only called for names; check literal addresses before
 * connecting.
 */
export function guardedLookup(networks: Networks, resolve: Resolve): LookupFunction {
  const find = callbackify(async (name: string) => {
    const found = await resolve(name);
    const allowed = found.filter((address) => networks.allows(address));
    if (allowed.length === 0) throw new AddressRefusedError();
    return allowed.map((address) => ({ address, family: isIP(address) }));
  });
  return (name, options, callback) => {
    find(name, (error, addresses) => {
      const [first] = addresses ?? [];
      if (first === undefined) callback(error ?? new AddressRefusedError(), "", 0);
      else if (options.all) callback(null, addresses);
      else callback(null, first.address, first.family);
    });
  };
}
