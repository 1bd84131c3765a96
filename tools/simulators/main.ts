import path from "node:path";
import { z } from "zod";
import { loadConfig } from "../../src/composition/config.ts";
import { wholeNumber } from "../../src/composition/formats.ts";
import { SIMULATED, VARIABLES } from "../../src/composition/variables.ts";
import { announce, createLogger } from "../../src/platform/log.ts";
import { opened, Services } from "../../src/platform/service.ts";
import { shutDownOnSignal } from "../../src/platform/shutdown.ts";
import { runMain } from "../../src/platform/startup.ts";
import { startEasyPost } from "./easypost/server.ts";
import { shipmentSchema } from "./easypost/shipment.ts";
import { entrySchema, Journal } from "./journal.ts";
import { Ledger } from "./ledger.ts";
import { startProviders, type Provider } from "./providers.ts";
import { takeOver } from "./takeover.ts";

/** Read by this process. docs/providers.md has them. */
const SETTINGS = z.object({
  HOST: VARIABLES.HOST,
  PAYMENTS_PORT: port(new URL(SIMULATED.PAYMENTS_URL).port),
  CARRIER_PORT: port(new URL(SIMULATED.CARRIER_URL).port),
  INVENTORY_PORT: port("4103"),
  EASYPOST_PORT: port("4104"),
  PROVIDER_LATENCY_MS: wholeNumber(0, 60_000).default(20),
  CARRIER_TRANSIT_MS: wholeNumber(0, 86_400_000).default(2_000),
  PROVIDERS_LEDGER: z.string().default(".local/simulators/ledger.jsonl"),
  SIGNING_SECRET: VARIABLES.SIGNING_SECRET,
  STRIPE_WEBHOOK_URL: VARIABLES.PAYMENTS_URL,
  STRIPE_WEBHOOK_SECRET: z
    .string()
    .regex(/^whsec_\S+$/, "must be a webhook's signing secret, whsec_…")
    .optional(),
  EASYPOST_WEBHOOK_URL: VARIABLES.CARRIER_URL,
  EASYPOST_WEBHOOK_SECRET: z.string().min(1).optional(),
  DATABASE_URL: VARIABLES.DATABASE_URL.optional(),
  LOG_LEVEL: VARIABLES.LOG_LEVEL,
});

/** The process of the simulated providers: `npm run simulators`. */
runMain(async () => {
  const config = loadConfig(SETTINGS, process.env);
  const log = createLogger({ name: "simulators", level: config.LOG_LEVEL });
  const { journal, entries } = Journal.open(config.PROVIDERS_LEDGER, entrySchema);
  const ledger = new Ledger(entries, (entry) => journal.append(entry));
  if (config.DATABASE_URL !== undefined) {
    const moved = await takeOver(config.DATABASE_URL, ledger, () => journal.sync());
    if (moved > 0) log.info({ moved }, "took over the providers' books from MySQL");
  }
  const at = (variable: "PAYMENTS_PORT" | "CARRIER_PORT" | "INVENTORY_PORT" | "EASYPOST_PORT") => ({
    host: config.HOST,
    port: config[variable],
    variable,
  });
  const providers = await startProviders({
    ledger,
    listen: {
      payments: at("PAYMENTS_PORT"),
      carrier: at("CARRIER_PORT"),
      inventory: at("INVENTORY_PORT"),
    } satisfies Record<Provider, unknown>,
    secrets: config.SIGNING_SECRET.length > 0 ? config.SIGNING_SECRET : undefined,
    latencyMs: config.PROVIDER_LATENCY_MS,
    transitMs: config.CARRIER_TRANSIT_MS,
  });
  const { STRIPE_WEBHOOK_URL: url, STRIPE_WEBHOOK_SECRET: secret } = config;
  if (url !== undefined) providers.setWebhooks({ url, ...(secret !== undefined && { secret }) });
  const shipments = Journal.open(
    path.join(path.dirname(config.PROVIDERS_LEDGER), "easypost.jsonl"),
    shipmentSchema,
  );
  const easypost = await startEasyPost({
    listen: at("EASYPOST_PORT"),
    latencyMs: config.PROVIDER_LATENCY_MS,
    behaviour: { transitMs: config.CARRIER_TRANSIT_MS },
    book: {
      entries: shipments.entries,
      append: (shipment) => shipments.journal.append(shipment),
    },
    ...(config.EASYPOST_WEBHOOK_URL !== undefined && {
      webhook: { url: config.EASYPOST_WEBHOOK_URL, secret: config.EASYPOST_WEBHOOK_SECRET ?? null },
    }),
  });
  const services = new Services(
    [
      opened("ledger", () => journal.close()),
      opened("shipments", () => shipments.journal.close()),
      opened("providers", () => providers.close()),
      opened("EasyPost", () => easypost.close()),
    ],
    log,
  );
  shutDownOnSignal({ log, timeoutMs: 1_000, services });
  await services.start();
  const { paymentsUrl: payments, carrierUrl: carrier, inventoryUrl: inventory } = providers;
  const addresses = { payments, carrier, inventory, easypost: easypost.baseUrl };
  announce(log, { ...addresses, entries: ledger.entries.length }, "simulators ready");
});

function port(standard: string) {
  return wholeNumber(0, 65_535).default(Number(standard));
}
