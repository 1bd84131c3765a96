import { Database } from "../db/database.ts";
import { EventLog } from "../db/event-log.ts";
import { readInstallationId } from "../db/identity.ts";
import { findTraceparents } from "../db/order-events.ts";
import { orderStore } from "../db/order-store.ts";
import { readRelayLag } from "../db/relay-positions.ts";
import { Queues } from "../queues/queues.ts";
import { RedisServer } from "../queues/server.ts";
import packageJson from "../package.json" with { type: "json" };
import { openInline } from "./composition/inline.ts";
import { Cancellation } from "./engine/cancellation.ts";
import { EventNotifier } from "./events/notifier.ts";
import { notificationChannelOf } from "./events/stream.ts";
import { hasQueues, loadConfig, PROCESSES, stageOverrides, type ApiConfig } from "./composition/config.ts";
import { COMMITS } from "./platform/group-commit.ts";
import { createApp, listenerOf, type AppOptions } from "./api/app.ts";
import { Hub } from "./events/live/hub.ts";
import { LogSource, StreamSource } from "./events/live/sources.ts";
import { HttpMetrics } from "./api/metrics.ts";
import { HttpServer } from "./api/server.ts";
import { Intake } from "./engine/intake.ts";
import { announce, createLogger, type Logger } from "./platform/log.ts";
import { watchQueues } from "./api/queue-metrics.ts";
import { watchRelay } from "./api/relay-metrics.ts";
import { MetricsServer } from "./platform/metrics-server.ts";
import { Metrics } from "./platform/metrics.ts";
import { lifecycle } from "./order/lifecycle.ts";
import { describeError } from "./platform/describe-error.ts";
import { shutDownOnSignal, type ShutdownStep } from "./platform/shutdown.ts";
import { runMain } from "./platform/startup.ts";
import { checkDatabase } from "./composition/check-database.ts";
import type { Tracing } from "./platform/tracing/contract.ts";
import { startTracing } from "./platform/tracing/tracing.ts";
import { Withdrawals } from "./engine/withdrawals.ts";
import { Networks } from "./events/webhooks/networks.ts";

/** The API process: configuration -> connections -> app -> listen -> shutdown. */
async function main(): Promise<void> {
  const config = loadConfig(PROCESSES.api, process.env);
  const tracing = await startTracing(process.env, { name: "conveyor-api", version: packageJson.version });
  const log = createLogger({ name: "api", level: config.LOG_LEVEL, fields: tracing.logFields });
  tracing.logTo(log);

  const database = new Database({
    url: config.DATABASE_URL,
    poolSize: config.DATABASE_POOL_SIZE,
    timeoutMs: config.DATABASE_TIMEOUT_MS,
  });
  tracing.readTraceparents((orderIds) => findTraceparents(database, orderIds));
  const metrics = new Metrics();
  metrics.watchPool(config.DATABASE_POOL_SIZE, () => database.use);
  const httpMetrics = new HttpMetrics(metrics);
  await checkDatabase(database, lifecycle);
  const { app, start, before, after } = hasQueues(config)
    ? await withQueues(config, { database, metrics, tracing, log })
    : withoutQueues(config, { database, metrics, tracing, log });

  const listener = listenerOf(
    createApp({
      database,
      ...app,
      accept: httpMetrics.counted(app.accept),
      webhookNetworks: new Networks(config.WEBHOOK_ALLOWED_NETWORKS),
      apiKeys: config.API_KEYS,
      version: packageJson.version,
      metrics,
      log,
    }),
  );
  const server = new HttpServer(tracing.listener(httpMetrics.measured(listener)));
  const metricsServer = new MetricsServer(metrics);
  shutDownOnSignal({
    log,
    timeoutMs: config.SHUTDOWN_TIMEOUT_MS,
    steps: [
      ...before,
      { name: "http", run: () => server.close() },
      ...after,
      { name: "database", run: () => database.close() },
      { name: "metrics", run: () => metricsServer.close() },
      { name: "tracing", run: () => tracing.stop() },
    ],
  });
  start();
  const metricsUrl =
    config.METRICS_PORT === undefined
      ? undefined
      : await metricsServer.listen(config.METRICS_PORT, config.HOST);
  announce(log, { url: await server.listen(config.PORT, config.HOST), metrics: metricsUrl }, "listening");
}

/** What becomes of orders once they are written down. */
interface Mode {
  readonly app: Pick<AppOptions, "live" | "redis" | "queues" | "requeue" | "accept" | "process" | "cancel">;
  readonly start: () => void;
  /** Steps of the shutdown before requests are waited for, and after that. */
  readonly before: readonly ShutdownStep[];
  readonly after: readonly ShutdownStep[];
}

/** What there is in either mode. */
interface Shared {
  readonly database: Database;
  readonly metrics: Metrics;
  readonly tracing: Tracing;
  readonly log: Logger;
}

/** Orders are queued, and workers carry them on. */
async function withQueues(
  config: ApiConfig & { readonly REDIS_URL: string },
  { database, metrics, tracing, log }: Shared,
): Promise<Mode> {
  const installation = await readInstallationId(database);
  const server = new RedisServer({
    url: config.REDIS_URL,
    prefix: config.REDIS_PREFIX,
    installation: async () => installation,
  });
  await server.checkAtStart();
  const redis = server.connectProducer();
  server.watch(redis);
  redis.on("error", (error) => log.warn({ error: describeError(error) }, "Redis does not answer"));
  const queues = new Queues({
    connection: redis,
    steps: lifecycle.steps,
    overrides: stageOverrides(config),
    tracing: tracing.jobs,
    onError: (error) => log.warn({ error: describeError(error) }, "queue error"),
  });
  watchQueues(metrics, queues);
  watchRelay(metrics, () => readRelayLag(database, "stream"));
  const commit = metrics.measured(tracing.commit(COMMITS[config.GROUP_COMMIT]));
  // Lost while Redis is away: the relay looks by itself when it is back.
  const notifier = new EventNotifier(
    () => void redis.publish(notificationChannelOf(redis), "").catch(() => undefined),
  );
  const onEvents = () => notifier.notify();
  const store = orderStore(database);
  const cancellation = new Cancellation({ store, dispatcher: queues, lifecycle, log });
  const withdrawals = withdrawalsBy(cancellation, config, log);
  const withdraw = (orderId: string) => withdrawals.add(orderId);
  const intake = new Intake({ store, dispatcher: queues, lifecycle, commit, log, onEvents, withdraw });
  const events = new EventLog(database);
  const liveRedis = server.connectWorker();
  // The other connection tells it.
  liveRedis.on("error", () => undefined);
  const source = new StreamSource({ log: events, redis: liveRedis });
  const live = new Hub({ database, log: events, source, logger: log });
  return {
    app: {
      live,
      redis,
      queues,
      requeue: queues,
      accept: tracing.accept((order) => intake.accept(order)),
      cancel: async (orderId, reason, actor) => {
        const cancelled = await cancellation.request(orderId, reason, actor);
        onEvents();
        return cancelled;
      },
    },
    start: () => undefined,
    before: [{ name: "live", run: async () => live.close() }],
    after: [
      { name: "intake", run: () => intake.idle() },
      { name: "withdrawals", run: () => withdrawals.stop() },
      { name: "cancellation", run: () => cancellation.idle() },
      { name: "redis watch", run: async () => server.stop() },
      { name: "event notifier", run: async () => notifier.stop() },
      { name: "queues", run: () => queues.close() },
      { name: "redis", run: async () => redis.disconnect() },
    ],
  };
}

/** Orders are carried on here, while their clients wait. */
function withoutQueues(config: ApiConfig, { database, metrics, tracing, log }: Shared): Mode {
  const { processing, sweeper, webhooks } = openInline({ config, database, metrics, tracing, log });
  const commit = metrics.measured(tracing.commit(COMMITS[config.GROUP_COMMIT]));
  const store = orderStore(database);
  const cancellation = new Cancellation({ store, dispatcher: processing, lifecycle, log });
  const withdrawals = withdrawalsBy(cancellation, config, log);
  const withdraw = (orderId: string) => withdrawals.add(orderId);
  const intake = new Intake({ store, dispatcher: processing, lifecycle, commit, log, withdraw });
  const events = new EventLog(database);
  const live = new Hub({ database, log: events, source: new LogSource(events), logger: log });
  return {
    app: {
      live,
      requeue: processing,
      accept: tracing.accept((order) => intake.accept(order)),
      process: (orderId, created) => processing.process(orderId, created),
      cancel: (orderId, reason, actor) => cancellation.request(orderId, reason, actor),
    },
    start: () => {
      sweeper.start();
      webhooks.start();
    },
    before: [
      { name: "live", run: async () => live.close() },
      { name: "processing", run: async () => processing.endWithin(config.SHUTDOWN_TIMEOUT_MS) },
    ],
    after: [
      { name: "intake", run: () => intake.idle() },
      { name: "withdrawals", run: () => withdrawals.stop() },
      { name: "cancellation", run: () => cancellation.idle() },
      { name: "sweeper", run: () => sweeper.stop() },
      { name: "webhooks", run: () => webhooks.stop() },
      { name: "what is under way", run: () => processing.idle() },
    ],
  };
}

function withdrawalsBy(cancellation: Cancellation, config: ApiConfig, log: Logger): Withdrawals {
  return new Withdrawals({
    cancel: (orderId, reason) => cancellation.request(orderId, reason),
    afterMs: config.DATABASE_TIMEOUT_MS,
    log,
  });
}

runMain(main);
