import { promises as dns } from "node:dns";
import { isIP, type LookupFunction } from "node:net";
import { callbackify } from "node:util";
import { isLocalName } from "./address.ts";
import type { Networks } from "./networks.ts";

/** The addresses of a name. @throws {Error} with DNS' code, such as ENOTFOUND. */
export type Resolve = (name: string) => Promise<readonly string[]>;

/** The name of an endpoint leads to no address that may be reached. */
export class AddressRefusedError extends Error {
  override name = "AddressRefusedError";
  constructor() {
    super("the address is private: see WEBHOOK_ALLOWED_NETWORKS");
  }
}

/** Milliseconds for one question to a name server, and how often it is asked. */
const QUESTION_MS = 2_000;
const QUESTIONS = 2;

/**
 * Asks DNS, and not the operating system: that would ask in one of the four threads that a process has for files and such,
 * so that four endpoints whose name servers hang would hold up all others.
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
 * For `net.connect`: looks a name up, and gives only addresses that may be reached. The connection is made to what was
 * checked, so it does not matter what the name server says the next time. Asked for names only: who connects to an address
 * checks that before.
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
