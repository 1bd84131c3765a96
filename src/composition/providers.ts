import path from "node:path";
import type { Database } from "../../db/database.ts";
import type { Base } from "./base.ts";
import { publicUrl, stageOverrides, type StagesConfig } from "./config.ts";
import { SIMULATED } from "./variables.ts";
import { loadModule } from "./load-module.ts";
import { LOAD_WITHIN_MS, loadedWithin } from "./load-time.ts";
import { COMMITS, type Commit } from "../platform/group-commit.ts";
import { StartupError } from "../platform/startup.ts";
import { describeError } from "../platform/describe-error.ts";
import { lifecycle } from "../order/lifecycle.ts";
import type { CarrierProvider, PaymentProvider, Ports, Providers } from "../order/ports.ts";
import { settingsOf } from "../order/stage.ts";
import { toldOf } from "../engine/calls.ts";
import { checkedProviders, faultOfProvider, PROVIDER_NAMES } from "../providers/checked.ts";
import { withCopies } from "../providers/copies.ts";
import { Callbacks } from "../providers/http/callbacks.ts";
import { httpCarrier } from "../providers/http/carrier.ts";
import { httpInventory } from "../providers/http/inventory.ts";
import { httpPayments } from "../providers/http/payments.ts";
import type { ServiceAddress } from "../providers/http/service-client.ts";
import { httpStages } from "../providers/http/stages.ts";
import { mysqlInventory } from "../providers/inventory.ts";
import { PaymentDesk } from "../providers/payments/desk.ts";
import { RefundRunner, type RefundRunnerOptions } from "../providers/payments/refunds.ts";
import { ShippingDesk } from "../providers/shipping/desk.ts";

/** Timeout of a call to an outside service: this long, or this share of a shorter attempt's. */
const LONGEST_ANSWER_MS = 5_000;
const PART_OF_ATTEMPT = 0.8;
/** The folder of the sources, or of the compiled ones. */
const CODE_FOLDER = path.resolve(import.meta.dirname, "../..");

/** The default export of the module in `PROVIDERS_MODULE`: gets the configured ports and returns those to use. */
export type ChoosePorts = (configured: Providers) => Providers | Promise<Providers>;

/**
 * Builds the adapters behind the ports. Nothing is connected before the first call.
 *
 * @param commit group commit; defaults to the configured one.
 * @throws {StartupError} if `PROVIDERS_MODULE` can't be loaded
 */
export async function connectPorts(
  config: StagesConfig,
  database: Database,
  commit: Commit = COMMITS[config.GROUP_COMMIT],
): Promise<Ports> {
  return portsOf(await connectProviders(config, database, commit), config, { database, commit });
}

/** The ports of stages, in front of the providers. */
export function portsOf(
  providers: Providers,
  config: StagesConfig,
  { database, commit }: Pick<Base, "database" | "commit">,
): Ports {
  const { PAYMENT_CAPTURE: capture, FULFILMENT: fulfilment } = config;
  const told = toldOf(providers);
  const { payments, carrier, inventory } = told;
  return {
    ...told,
    payments: new PaymentDesk({ provider: payments, database, commit, capture }),
    carrier: new ShippingDesk({
      provider: carrier,
      inventory,
      database,
      commit,
      fulfilment,
      from: config.SHIP_FROM,
      service: config.CARRIER_SERVICE,
      trackingIntervalMs: config.TRACKING_INTERVAL,
    }),
  };
}

/** Builds what pays refunds back. */
export function openRefundRunner(
  config: StagesConfig,
  { database, log }: Pick<Base, "database" | "log">,
  given: Pick<RefundRunnerOptions, "provider" | "onEvents" | "lease">,
): RefundRunner {
  // A refund takes two calls: a look-up, and the refund itself.
  return new RefundRunner({ ...given, database, log, timeoutMs: 2 * answerTimeout(config) });
}

/** Builds what stands behind the ports of stages. @throws {StartupError} */
export async function connectProviders(
  config: StagesConfig,
  database: Database,
  commit: Commit = COMMITS[config.GROUP_COMMIT],
): Promise<Providers> {
  const at = (url: string) => ({ url, timeoutMs: answerTimeout(config), secrets: config.SIGNING_SECRET });
  const { INVENTORY_URL, CARRIER_URL } = config;
  const configured: Providers = {
    inventory:
      INVENTORY_URL === undefined ? mysqlInventory(database, commit) : httpInventory(at(INVENTORY_URL)),
    payments: await paymentProvider(config, at),
    carrier: await carrierProvider(config, at(CARRIER_URL ?? SIMULATED.CARRIER_URL)),
    httpStages: httpStages(
      lifecycle.stages,
      ({ http, ...stage }) => ({
        url: http.url,
        timeoutMs: Math.floor(settingsOf(stage, stageOverrides(config)).timeout * PART_OF_ATTEMPT),
        secrets: http.secret?.split(" ") ?? config.SIGNING_SECRET,
      }),
      new Callbacks({ database, lifecycle, publicUrl: publicUrl(config) }),
    ),
  };
  const given = { ...configured, ...config.providers };
  const { PROVIDERS_MODULE } = config;
  const used = PROVIDERS_MODULE === undefined ? given : await chosen(given, PROVIDERS_MODULE);
  const ownOf = <Provider extends object>(provider: Provider, ours: Provider) =>
    provider === ours ? provider : withCopies(provider);
  return checkedProviders({
    payments: ownOf(used.payments, configured.payments),
    carrier: ownOf(used.carrier, configured.carrier),
    inventory: ownOf(used.inventory, configured.inventory),
    httpStages: used.httpStages,
  });
}

/** @throws {StartupError} */
async function chosen(given: Providers, module: string): Promise<Providers> {
  const choose = await load(module);
  const providers = await choose(given);
  for (const name of PROVIDER_NAMES) {
    const fault = faultOfProvider(name, providers?.[name]);
    if (fault !== undefined) throw new StartupError(`PROVIDERS_MODULE ${module}: ${name} ${fault}`);
  }
  return providers;
}

async function paymentProvider(
  config: StagesConfig,
  at: (url: string) => ServiceAddress & { readonly timeoutMs: number },
): Promise<PaymentProvider> {
  const { PAYMENTS, PAYMENTS_URL, STRIPE_SECRET_KEY, STRIPE_WEBHOOK_SECRET, STRIPE_API_URL } = config;
  if (PAYMENTS === "http") return httpPayments(at(PAYMENTS_URL ?? SIMULATED.PAYMENTS_URL));
  // Stripe's package is loaded by those alone who use it.
  const { stripePayments } = await import("../providers/stripe.ts");
  return stripePayments({
    secretKey: STRIPE_SECRET_KEY ?? "",
    webhookSecrets: STRIPE_WEBHOOK_SECRET,
    ...at(STRIPE_API_URL),
  });
}

async function carrierProvider(config: StagesConfig, address: ServiceAddress): Promise<CarrierProvider> {
  if (config.CARRIER === "http") return httpCarrier(address);
  const { EASYPOST_API_KEY = "", EASYPOST_WEBHOOK_SECRET, EASYPOST_API_URL } = config;
  // EasyPost's package is loaded by those alone who use it.
  const { easypostCarrier } = await import("../providers/easypost/carrier.ts");
  return easypostCarrier({
    apiKey: EASYPOST_API_KEY,
    webhookSecrets: EASYPOST_WEBHOOK_SECRET,
    url: EASYPOST_API_URL,
    timeoutMs: answerTimeout(config),
    parcel: config.DEFAULT_PARCEL,
  });
}

/** @param name a path, relative to the code and without an extension, or absolute. @throws {StartupError} */
async function load(name: string): Promise<ChoosePorts> {
  const file = path.isAbsolute(name)
    ? name
    : path.join(CODE_FOLDER, name + path.extname(import.meta.filename));
  let module: { readonly default?: unknown };
  try {
    module = await loadedWithin(LOAD_WITHIN_MS, loadModule(file));
  } catch (error) {
    throw new StartupError(`PROVIDERS_MODULE ${name} can't be loaded: ${describeError(error)}`, {
      cause: error,
    });
  }
  if (!isChoice(module.default))
    throw new StartupError(`PROVIDERS_MODULE ${name} has no function as its default export`);
  return module.default;
}

function isChoice(value: unknown): value is ChoosePorts {
  return typeof value === "function";
}

/** The adapter must give up before the attempt does, so that the error names the service. */
function answerTimeout(config: StagesConfig): number {
  const timeouts = lifecycle.stages.map((stage) => settingsOf(stage, stageOverrides(config)).timeout);
  return Math.min(LONGEST_ANSWER_MS, Math.floor(Math.min(...timeouts) * PART_OF_ATTEMPT));
}
