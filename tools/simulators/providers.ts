import { done, type Call } from "./call.ts";
import { CarrierProvider } from "./carrier-provider.ts";
import { inEnvelope } from "./envelope.ts";
import type { Fault } from "./fault.ts";
import { Ledger, type Entry } from "./ledger.ts";
import { PaymentProvider } from "./payment-provider.ts";
import { orderOfCall, Poison } from "./poison.ts";
import { ProviderServer, type ListenAddress } from "./provider-server.ts";
import { stripeControls } from "./stripe/controls.ts";
import { StripeSimulator } from "./stripe/stripe.ts";
import type { WebhookSettings } from "./stripe/webhooks.ts";

export type { Fault } from "./fault.ts";

/** What is simulated: the payment provider, the carrier, and a way to the inventory (see inventory.ts). */
export const PROVIDERS = ["inventory", "payments", "carrier"] as const;
export type Provider = (typeof PROVIDERS)[number];

/** An approved charge: the money has moved. */
export interface BookedCharge {
  key: string;
  orderId: string;
  amount: number;
  currency: string;
  chargeId: string;
  at: Date;
}

export interface BookedDecline {
  key: string;
  orderId: string;
}

export interface BookedRefund {
  key: string;
  orderId: string;
  chargeKey: string;
  refundId: string;
  amount: number;
  at: Date;
}

export interface BookedLabel {
  key: string;
  orderId: string;
  trackingNumber: string;
  voided: boolean;
  at: Date;
}

/** The providers' records, for an auditor. Each list grows in the order of its events. */
export interface ProviderBooks {
  /** Approved charges only. */
  readonly charges: BookedCharge[];
  readonly declines: BookedDecline[];
  readonly refunds: BookedRefund[];
  /** Includes voided labels. */
  readonly labels: BookedLabel[];
  /** The number of calls under each idempotency key, successful or not. */
  readonly attempts: ReadonlyMap<string, number>;
}

export interface Providers {
  readonly paymentsUrl: string;
  readonly carrierUrl: string;
  /** See inventory.ts. */
  readonly inventoryUrl: string;
  readonly books: ProviderBooks;
  /** An order's entries in the ledger, in the order in which they were decided. */
  readonly entriesOf: (orderId: string) => readonly Entry[];
  /** Replaces the current fault, for calls from now on. */
  readonly setFault: (provider: Provider, fault: Fault) => void;
  /** Replaces the latency of payment provider and carrier. */
  readonly setLatency: (ms: number) => void;
  /** Replaces the time that a parcel takes, also of those in transit. */
  readonly setTransit: (ms: number) => void;
  /** Calls with an effect that are in flight now. */
  readonly inFlight: (provider: Provider) => number;
  /** The maximum of `inFlight` since the last call. */
  readonly takeMaxInFlight: (provider: Provider) => number;
  /** The same, counting only calls that repeat a key. */
  readonly takeMaxRepeatedInFlight: (provider: Provider) => number;
  /** Ends the poisoning: see {@link Poison}. */
  readonly heal: () => void;
  /** Where the simulated Stripe's webhooks go, and how they fare. */
  readonly setWebhooks: (settings: Partial<WebhookSettings>) => void;
  /** How long the simulated Stripe keeps idempotency keys. Milliseconds. */
  readonly forgetKeysAfter: (ms: number) => void;
  /** The books can still be read afterwards. */
  readonly close: () => Promise<void>;
}

export interface ProvidersOptions {
  /** The books; by default new ones, in memory. */
  readonly ledger?: Ledger;
  /** Where each listens; by default on a free loopback port. */
  readonly listen?: Readonly<Record<Provider, ListenAddress>>;
  /** Milliseconds until a parcel is delivered (2,000). */
  readonly transitMs?: number;
  /** Decides which calls a fault with a rate hits; returns numbers from 0 to below 1. */
  readonly random?: () => number;
  /** Milliseconds that payment provider and carrier add to every answer (0). */
  readonly latencyMs?: number;
  /** Refuse what none of these has signed; by default nothing is verified. */
  readonly secrets?: readonly string[] | undefined;
}

const ANYWHERE: ListenAddress = { port: 0, host: "127.0.0.1", variable: "the port" };

/**
 * Starts a payment provider and a carrier that speak the protocol in docs/providers.md, and what inventory.ts asks.
 *
 * @throws {StartupError} if one can't listen
 */
export async function startProviders(options: ProvidersOptions = {}): Promise<Providers> {
  const { ledger = new Ledger(), transitMs = 2_000, random = Math.random, latencyMs = 0 } = options;
  const attempts = new Map<string, number>();
  const payments = new PaymentProvider(ledger);
  const stripe = new StripeSimulator(ledger, random);
  const carrier = new CarrierProvider(ledger, transitMs);
  const poison = new Poison((call) => stripe.subjectOf(call));
  const plain = {
    payments: inEnvelope((call) => payments.handle(call), options.secrets),
    carrier: inEnvelope((call) => carrier.handle(call), options.secrets),
    inventory: inEnvelope(() => done(), options.secrets),
  };
  const isStripe = ({ path }: Call) => StripeSimulator.serves(path);
  const shared = {
    countAttempt: counted(attempts),
    poisonOf: (call: Call) => poison.of(call),
    random,
    ledger: () => ({ entries: ledger.entries }),
  };
  const servers: Readonly<Record<Provider, ProviderServer>> = {
    inventory: new ProviderServer({
      ...shared,
      // An order is with the carrier and with the inventory under the same key.
      countAttempt: counted(new Map()),
      latencyMs: 0,
      handle: plain.inventory,
    }),
    payments: new ProviderServer({
      ...shared,
      latencyMs,
      handle: (call) => (isStripe(call) ? stripe.handle(call) : plain.payments(call)),
      fail: (call) => (isStripe(call) ? stripe.fail(call) : { status: 500, body: { error: "failed" } }),
      control: stripeControls(stripe),
      orderOf: (call) => (isStripe(call) ? stripe.subjectOf(call)?.orderId : orderOfCall(call)),
      onFault: ({ kind }) => {
        if (kind !== "none" && kind !== "slow") return;
        payments.switchedUp();
        stripe.switchedUp();
      },
    }),
    carrier: new ProviderServer({ ...shared, latencyMs, handle: plain.carrier }),
  };
  const close = async () => {
    stripe.close();
    await Promise.all(PROVIDERS.map((name) => servers[name].close()));
  };
  const listening = PROVIDERS.map((name) => servers[name].listen(options.listen?.[name] ?? ANYWHERE));
  const [inventoryUrl = "", paymentsUrl = "", carrierUrl = ""] = await Promise.all(listening);
  return {
    inventoryUrl,
    paymentsUrl,
    carrierUrl,
    books: booksOf(ledger, attempts),
    entriesOf: (orderId) => ledger.entries.filter((entry) => entry.orderId === orderId),
    setFault(provider, fault) {
      servers[provider].fault = fault;
    },
    setLatency(ms) {
      servers.payments.latencyMs = ms;
      servers.carrier.latencyMs = ms;
    },
    setTransit(ms) {
      carrier.transitMs = ms;
    },
    inFlight: (provider) => servers[provider].inFlight,
    takeMaxInFlight: (provider) => servers[provider].takeMaxInFlight(),
    takeMaxRepeatedInFlight: (provider) => servers[provider].takeMaxRepeatedInFlight(),
    heal: () => poison.heal(),
    setWebhooks(settings) {
      stripe.webhooks.settings = { ...stripe.webhooks.settings, ...settings };
    },
    forgetKeysAfter(ms) {
      stripe.keys.ttlMs = ms;
    },
    close,
  };
}

function counted(attempts: Map<string, number>): (key: string) => number {
  return (key) => {
    const count = (attempts.get(key) ?? 0) + 1;
    attempts.set(key, count);
    return count;
  };
}

/** The ledger as an auditor reads it, up to date whenever it is read. */
function booksOf(ledger: Ledger, attempts: ReadonlyMap<string, number>): ProviderBooks {
  const approved = (kind: Entry["kind"]) =>
    ledger.entries.filter((entry) => entry.kind === kind && entry.outcome === "approved");
  return {
    attempts,
    get charges() {
      return approved("charge").map(({ key, orderId, amount, currency, providerId, at }) => ({
        key,
        orderId,
        amount,
        currency: currency ?? "",
        chargeId: providerId,
        at,
      }));
    },
    get declines() {
      return ledger.entries
        .filter(({ outcome }) => outcome === "declined")
        .map(({ key, orderId }) => ({ key, orderId }));
    },
    get refunds() {
      return approved("refund").map(({ key, orderId, reverses, providerId, amount, at }) => ({
        key,
        orderId,
        chargeKey: reverses ?? "",
        refundId: providerId,
        amount,
        at,
      }));
    },
    get labels() {
      return approved("label").map(({ key, orderId, providerId, at }) => ({
        key,
        orderId,
        trackingNumber: providerId,
        voided: ledger.reversalOf(key) !== undefined,
        at,
      }));
    },
  };
}
