import type { Call } from "./call.ts";
import { CarrierProvider, type BookedLabel } from "./carrier-provider.ts";
import type { Fault } from "./fault.ts";
import {
  PaymentProvider,
  type BookedCharge,
  type BookedDecline,
  type BookedRefund,
} from "./payment-provider.ts";
import { Poison } from "./poison.ts";
import { ProviderServer } from "./provider-server.ts";

export type { Fault } from "./fault.ts";

/** What an auditor reads. It grows as the providers work, each list in the order of its events. */
export interface ProviderBooks {
  /** Approved captures only. */
  charges: BookedCharge[];
  declines: BookedDecline[];
  refunds: BookedRefund[];
  /** A voided label stays in the list. */
  labels: BookedLabel[];
  /** How often each idempotency key was asked for, with whatever success. */
  attempts: ReadonlyMap<string, number>;
}

export interface Providers {
  paymentsUrl: string;
  carrierUrl: string;
  books: ProviderBooks;
  /** Takes the place of the fault before it, for calls from now on. */
  setFault: (provider: "payments" | "carrier", fault: Fault) => void;
  /** Calls with an effect that a provider has before it at this moment. */
  atOnce: (provider: "payments" | "carrier") => number;
  /** The most of them since this was last asked. */
  takeMostAtOnce: (provider: "payments" | "carrier") => number;
  /** The same of calls that were made again under their key. */
  takeMostRepeatedAtOnce: (provider: "payments" | "carrier") => number;
  /** From now on the orders are served that nobody could serve, as {@link Poison} has them. */
  heal: () => void;
  /** The books can still be read afterwards. */
  close: () => Promise<void>;
}

/**
 * Starts a payment provider and a carrier that speak the protocol of docs/providers.md, each on a free port of this
 * machine, with books in the memory of this process: whatever happens to the service, they know what they were asked.
 *
 * @param options.transitMs milliseconds that a parcel is on the road (2,000).
 * @param options.random decides which calls a fault with a rate hits; gives numbers from 0 to below 1.
 * @param options.latencyMs milliseconds that every answer takes anyway (0).
 */
export async function startProviders(
  options: { transitMs?: number; random?: () => number; latencyMs?: number } = {},
): Promise<Providers> {
  const { transitMs = 2_000, random = Math.random, latencyMs = 0 } = options;
  const attempts = new Map<string, number>();
  const countAttempt = (key: string) => {
    const count = (attempts.get(key) ?? 0) + 1;
    attempts.set(key, count);
    return count;
  };
  const paymentProvider = new PaymentProvider();
  const carrierProvider = new CarrierProvider(transitMs);
  const poison = new Poison((trackingNumber) => carrierProvider.orderOf(trackingNumber));
  const shared = { countAttempt, poisonOf: (call: Call) => poison.of(call), random, latencyMs };
  const servers = {
    payments: new ProviderServer({ ...shared, handle: (call) => paymentProvider.handle(call) }),
    carrier: new ProviderServer({ ...shared, handle: (call) => carrierProvider.handle(call) }),
  };
  const [paymentsUrl, carrierUrl] = await Promise.all([servers.payments.listen(), servers.carrier.listen()]);
  const { charges, declines, refunds } = paymentProvider;
  return {
    paymentsUrl,
    carrierUrl,
    books: { charges, declines, refunds, labels: carrierProvider.labels, attempts },
    setFault(provider, fault) {
      servers[provider].fault = fault;
    },
    atOnce: (provider) => servers[provider].atOnce,
    takeMostAtOnce: (provider) => servers[provider].takeMostAtOnce(),
    takeMostRepeatedAtOnce: (provider) => servers[provider].takeMostRepeatedAtOnce(),
    heal: () => poison.heal(),
    async close() {
      await Promise.all([servers.payments.close(), servers.carrier.close()]);
    },
  };
}
