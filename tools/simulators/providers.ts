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

/** The providers' records, for an auditor. Each list grows in the order of its events. */
export interface ProviderBooks {
  /** Approved charges only. */
  charges: BookedCharge[];
  declines: BookedDecline[];
  refunds: BookedRefund[];
  /** Includes voided labels. */
  labels: BookedLabel[];
  /** The number of calls under each idempotency key, successful or not. */
  attempts: ReadonlyMap<string, number>;
}

export interface Providers {
  paymentsUrl: string;
  carrierUrl: string;
  books: ProviderBooks;
  /** Replaces the current fault, for calls from now on. */
  setFault: (provider: "payments" | "carrier", fault: Fault) => void;
  /** Calls with an effect that are in flight now. */
  inFlight: (provider: "payments" | "carrier") => number;
  /** The maximum of `inFlight` since the last call. */
  takeMaxInFlight: (provider: "payments" | "carrier") => number;
  /** The same, counting only calls that repeat a key. */
  takeMaxRepeatedInFlight: (provider: "payments" | "carrier") => number;
  /** Ends the poisoning: see {@link Poison}. */
  heal: () => void;
  /** The books can still be read afterwards. */
  close: () => Promise<void>;
}

/**
 * Starts a payment provider and a carrier that speak the protocol in docs/providers.md, each on a free loopback
 * port. Their books are in this process's memory, so they survive whatever happens to Conveyor.
 *
 * @param options.transitMs milliseconds until a parcel is delivered (2,000).
 * @param options.random decides which calls a fault with a rate hits; returns numbers from 0 to below 1.
 * @param options.latencyMs milliseconds added to every answer (0).
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
    inFlight: (provider) => servers[provider].inFlight,
    takeMaxInFlight: (provider) => servers[provider].takeMaxInFlight(),
    takeMaxRepeatedInFlight: (provider) => servers[provider].takeMaxRepeatedInFlight(),
    heal: () => poison.heal(),
    async close() {
      await Promise.all([servers.payments.close(), servers.carrier.close()]);
    },
  };
}
