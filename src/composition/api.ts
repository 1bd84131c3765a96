import type { RequestListener } from "node:http";
import packageJson from "../../package.json" with { type: "json" };
import { createApp, serverOf } from "../api/app.ts";
import { HttpMetrics } from "../api/metrics.ts";
import { watchWebhooks } from "../api/webhook-metrics.ts";
import type { Database } from "../../db/database.ts";
import { DatabaseLease } from "../../db/leases.ts";
import { ReadDatabase } from "../../db/reads.ts";
import { listDisabled, listFailing } from "../../db/webhook-endpoints.ts";
import { PublicAddress } from "../api/public-address.ts";
import { Health } from "../api/readiness.ts";
import { Networks } from "../events/webhooks/networks.ts";
import type { Logger } from "../platform/log.ts";
import { MOST_SCRAPERS } from "../platform/metrics-server.ts";
import { openFilesLimit } from "../platform/open-files.ts";
import { Disputes } from "../providers/payments/disputes.ts";
import { MissedWebhooks } from "../providers/payments/missed-webhooks.ts";
import { Refunds } from "../providers/payments/refunds.ts";
import { PaymentWebhooks } from "../providers/payments/webhooks.ts";
import { Parcels } from "../providers/shipping/parcels.ts";
import { Listening, opened, Services } from "../platform/service.ts";
import { metricsPort, openBase } from "./base.ts";
import { checkDatabase } from "./check-database.ts";
import { hasQueues, type ApiConfig } from "./config.ts";
import { openInline } from "./inline.ts";
import { connectProviders } from "./providers.ts";
import { openQueued } from "./queued.ts";

/** An API process. */
export interface Api {
  readonly log: Logger;
  readonly services: Services;
  readonly http: Listening;
  readonly metrics: Listening;
}

/** Open connections of clients at most. Each streaming client has one. */
const MOST_CONNECTIONS = 20_000;
/** Open files beside those of clients and of MySQL's pool: Redis, logs, traces, the runtime's own. */
const OTHER_FILES = 60 + MOST_SCRAPERS;
/** What little is left to clients when the system allows next to nothing. */
const FEWEST_CONNECTIONS = 16;

/** As many as the system lets this process open, since nobody is told of a connection that it can't open. */
function mostConnections(poolSize: number): number {
  const left = (openFilesLimit() ?? Infinity) - poolSize - OTHER_FILES;
  return Math.max(FEWEST_CONNECTIONS, Math.min(MOST_CONNECTIONS, left));
}

/** The server for reads, if there is one. Connects on first use. */
function openReads(config: ApiConfig, database: Database): Database | undefined {
  const { DATABASE_READ_URL: url, DATABASE_POOL_SIZE: poolSize } = config;
  return url === undefined ? undefined : new ReadDatabase({ url, poolSize }, database);
}

/** Builds an API process without starting it. @throws {StartupError} if a server does not fit this version. */
export async function openApi(config: ApiConfig): Promise<Api> {
  const base = await openBase("api", config);
  const { database, metrics, tracing, log } = base;
  const httpMetrics = new HttpMetrics(metrics);
  const reads = openReads(config, database);
  watchWebhooks(metrics, {
    failing: () => listFailing(database),
    disabled: () => listDisabled(database),
  });
  await checkDatabase(database, config);
  const mode = await (hasQueues(config) ? openQueued(config, base) : openInline(config, base));
  const { live, operations } = mode.app;
  const address = new PublicAddress({ url: config.PUBLIC_URL, listensOn: config.HOST });
  const health = new Health({ database, redis: mode.app.redis });
  const { payments, carrier, inventory } = await connectProviders(config, database, base.commit);
  const wake = (orderId: string) => mode.app.waking.wake(orderId);
  const disputes = new Disputes({
    provider: payments,
    database,
    hold: (...hold) => operations.hold(...hold),
    release: (...hold) => operations.release(...hold),
    onEvents: mode.onEvents,
    log,
  });
  const paymentWebhooks = new PaymentWebhooks({
    provider: payments,
    database,
    disputes,
    wake,
    onEvents: mode.onEvents,
    log,
  });
  const app = createApp({
    database,
    ...(reads && { reads }),
    payments,
    refunds: new Refunds(database, mode.onEvents, {
      provider: payments,
      wake,
      restocks: inventory.inDatabase === true,
    }),
    paymentWebhooks,
    parcels: new Parcels({
      database,
      provider: carrier,
      wake,
      goOn: (...given) => operations.goOn(...given),
      onEvents: mode.onEvents,
      log,
    }),
    ...mode.app,
    health,
    accept: httpMetrics.counted(mode.app.accept),
    webhookNetworks: new Networks(config.WEBHOOK_ALLOWED_NETWORKS),
    apiKeys: config.API_KEYS,
    address,
    ...(config.TRUST_PROXY !== undefined && { trustProxy: config.TRUST_PROXY }),
    version: packageJson.version,
    metrics,
    log,
  });
  const around = (listener: RequestListener) => tracing.listener(httpMetrics.measured(listener));
  const server = serverOf(app, around, {
    closeWithinMs: config.SHUTDOWN_TIMEOUT_MS,
    address,
    mostConnections: mostConnections((reads ? 2 : 1) * config.DATABASE_POOL_SIZE),
    log,
  });
  const http = new Listening("http", server, { port: config.PORT, host: config.HOST });
  const scraped = metricsPort(config, metrics, () => services.running, log);
  const all = [
    ...base.services,
    ...(reads ? [opened("reads", () => reads.close())] : []),
    scraped,
    ...mode.services,
    new MissedWebhooks({
      provider: payments,
      database,
      look: (subject) => paymentWebhooks.look(subject),
      lease: new DatabaseLease(database, "missed-webhooks"),
      log,
    }),
    http,
    ...mode.beforeRequests,
    // Streaming requests never end by themselves.
    opened("live updates", () => live.close()),
    opened("readiness", () => {
      health.shutDown();
      return server.retire(config.SHUTDOWN_DELAY_MS);
    }),
  ];
  const services = new Services(all, log);
  return { log, services, http, metrics: scraped };
}
