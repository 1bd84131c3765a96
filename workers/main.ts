import { fork, type ChildProcess } from "node:child_process";
import path from "node:path";
import { failureKindOf } from "../src/platform/storage-error.ts";
import { appendFailedAttempts, findTraceparents } from "../db/order-events.ts";
import type { FailedAttempt } from "../src/engine/ports.ts";
import { markFailed } from "../db/failures.ts";
import { checkWrites } from "../db/write-check.ts";
import { readBacklogs } from "../queues/backlog.ts";
import { keyOf } from "../queues/keys.ts";
import { MinuteCounts } from "../queues/telemetry/minute-counts.ts";
import packageJson from "../package.json" with { type: "json" };
import { loadConfig, PROCESSES, stageOverrides } from "../src/composition/config.ts";
import { EventNotifier } from "../src/events/notifier.ts";
import { notificationChannelOf } from "../src/events/stream.ts";
import { COMMITS, withoutResults } from "../src/platform/group-commit.ts";
import { announce, createLogger } from "../src/platform/log.ts";
import { MetricsServer } from "../src/platform/metrics-server.ts";
import { Metrics } from "../src/platform/metrics.ts";
import { lifecycle } from "../src/order/lifecycle.ts";
import { settingsOf } from "../src/order/stage.ts";
import { pay } from "../src/order/stages/pay.ts";
import { shutDownOnSignal } from "../src/platform/shutdown.ts";
import { runMain } from "../src/platform/startup.ts";
import { checkDatabase } from "../src/composition/check-database.ts";
import { startTracing } from "../src/platform/tracing/tracing.ts";
import { parseWorkerArguments } from "./arguments.ts";
import type { Gate } from "../src/engine/breaker.ts";
import { StageBreakers } from "../src/engine/breakers.ts";
import { Executor } from "../src/engine/executor.ts";
import { alsoCounting, WorkerHeartbeat } from "./heartbeat.ts";
import { Isolation } from "./isolation/isolation.ts";
import { StageMetrics } from "../src/engine/metrics.ts";
import { SettingsSync } from "./settings-sync.ts";
import { Relay } from "../src/events/relay/relay.ts";
import { openDatabase, openResources } from "../src/composition/resources.ts";
import { ServerWatch } from "./server-watch.ts";
import { StageWorker } from "./stage-worker.ts";
import { SuspectQuota } from "./suspect-quota.ts";
import { shareOf } from "../src/engine/suspects.ts";
import { batchedEnqueue, BatchingStore } from "../src/engine/batching-store.ts";
import { orderStore } from "../db/order-store.ts";
import { readInstallationId } from "../db/identity.ts";
import { RedisLease } from "../queues/lease.ts";
import { Marker } from "../queues/marker.ts";
import { Sweeper } from "../src/engine/sweeper.ts";
import { Watchdog } from "./watchdog.ts";
import { openWebhooks } from "../src/composition/webhooks.ts";

/** How long the key stays by which a worker finds out whether Redis takes writes. */
const PROBE_SECONDS = 60;

/** The worker process: configuration -> connections -> executor -> one worker a stage -> shutdown. */
async function main(): Promise<void> {
  const { steps, concurrency, crashHook } = parseWorkerArguments(process.argv.slice(2), lifecycle.steps);
  const config = loadConfig(PROCESSES.worker, process.env);
  const overrides = stageOverrides(config);
  const tracing = await startTracing(process.env, { name: "conveyor-worker", version: packageJson.version });
  const log = createLogger({ name: "worker", level: config.LOG_LEVEL, fields: tracing.logFields });
  tracing.logTo(log);

  const metrics = new Metrics();
  const stageMetrics = new StageMetrics(metrics, lifecycle);
  const commit = metrics.measured(tracing.commit(COMMITS[config.GROUP_COMMIT]));

  const database = openDatabase(config);
  tracing.readTraceparents((orderIds) => findTraceparents(database, orderIds));
  metrics.watchPool(config.DATABASE_POOL_SIZE, () => database.use);
  await checkDatabase(database, lifecycle);
  const { server, redis, queues, ports } = openResources(config, database, log, commit, tracing.jobs);
  await server.checkAtStart();
  server.watch(redis);

  const workers = new Map<string, StageWorker>();
  const counts = new MinuteCounts();
  const breakers = new StageBreakers({
    stages: lifecycle.stages,
    ports,
    gateOf: (stage) => gateTo(workers.get(stage.name)),
    suspectsOf: (step) => workers.get(step.name)?.suspects,
    probeIntervalMs: config.PROBE_INTERVAL_MS,
    log,
  });
  const notifier = new EventNotifier(() => {
    if (redis.status === "ready") redis.publish(notificationChannelOf(redis), "").catch(() => undefined);
  });
  const store = orderStore(database);
  const jobs = batchedEnqueue(queues, { name: "next_jobs", commit });
  const executor = new Executor({
    lifecycle,
    ports,
    store: new BatchingStore({ store, commit, crashHook, onEvents: () => notifier.notify() }),
    enqueue: (job) => jobs.submit(job),
    breakers,
    crashHook,
  });
  const isolation = new Isolation({ fork: forkIsolated, log });
  const databaseWatch = new ServerWatch({
    server: "MySQL",
    probe: () => checkWrites(database),
    log,
  });
  // One that can't be reached needs nothing of this: connections wait by themselves. But BullMQ asks one that answers
  // that it takes no writes for the next job again and again, without a pause.
  const redisWatch = new ServerWatch({
    server: "Redis",
    probe: () => redis.set(keyOf(redis, "probe"), 1, "EX", PROBE_SECONDS),
    log,
  });
  const failedAttempts = commit<FailedAttempt, void>({
    name: "failed_attempts",
    flush: withoutResults((failures) => appendFailedAttempts(database, failures)),
    kindOf: failureKindOf,
  });
  for (const step of steps) {
    const worker = new StageWorker({
      step,
      settings: settingsOf(step, concurrency === undefined ? overrides : { ...overrides, concurrency }),
      connection: redis,
      executor: tracing.attempts(executor),
      isolation,
      turns: queues.turnsOf(step),
      outages: {
        databaseAway: (how, error) => databaseWatch.reportAway(how, error),
        redisAway: () => redisWatch.reportAway("Redis takes no writes"),
        judge: (stage, call) => breakers.judge(stage, call),
        probeIntervalMs: config.PROBE_INTERVAL_MS,
      },
      telemetry: tracing.jobs?.telemetry,
      observer: alsoCounting(stageMetrics.of(step), counts, step),
      log,
      markFailed: async ({ step: { name: stage }, ...failure }) => {
        await markFailed(database, {
          ...failure,
          whileIn: lifecycle.statusesIn(step),
          stage,
          at: new Date(),
        });
        notifier.notify();
      },
      noteFailedAttempt: async ({ step: { name: stage }, ...failure }) => {
        await failedAttempts.submit({ ...failure, stage, at: new Date() });
        notifier.notify();
      },
    });
    workers.set(step.name, worker);
    databaseWatch.add(worker);
    redisWatch.add(worker);
  }

  stageMetrics.watchBreakers((stage) => breakers.troubleOf(stage));
  stageMetrics.watchWorkers(() =>
    [...workers].map(([stage, worker]) => ({
      stage,
      concurrency: worker.concurrency,
      held: worker.held,
      suspects: worker.suspects.taken,
    })),
  );

  const watchdog = new Watchdog({
    readBacklogs: (watched) => readBacklogs(server, watched),
    workers: [...workers.values()],
    log,
    afterMs: config.WEDGED_AFTER_MS,
  });

  const settingsSync = new SettingsSync({ database, redis, queues, log });
  const heartbeat = new WorkerHeartbeat({ redis, workers: [...workers.values()], breakers, counts, log });

  const suspectQuota = new SuspectQuota({
    redis,
    queues,
    workers: [...workers.values()],
    self: heartbeat.id,
    log,
  });

  const sweeper = new Sweeper({
    store,
    dispatcher: queues,
    lease: new RedisLease(redis, { name: "sweeper", seconds: 15 }),
    marker: new Marker(redis, () => readInstallationId(database)),
    lifecycle,
    deadlines: lifecycle.deadlines({ [pay.name]: config.PAYMENT_DEADLINE }),
    observer: stageMetrics,
    log,
    intervalMs: config.SWEEP_INTERVAL_MS,
    afterMs: config.SWEEP_AFTER_MS,
  });

  const relayRedis = server.connectProducer();
  relayRedis.on("error", () => undefined);
  const relay = new Relay({
    database,
    redis: relayRedis,
    connectListener: () => server.connectWorker(),
    length: config.EVENTS_STREAM_LENGTH,
    log,
  });

  const webhooks = openWebhooks({
    config,
    database,
    connectListener: () => server.connectWorker(),
    log,
  });

  const metricsServer = new MetricsServer(metrics);
  shutDownOnSignal({
    log,
    timeoutMs: config.SHUTDOWN_TIMEOUT_MS,
    steps: [
      { name: "watchdog", run: async () => watchdog.stop() },
      {
        name: "workers",
        run: async () =>
          void (await Promise.all(
            [...workers.values()].map((worker) => worker.stop(config.SHUTDOWN_TIMEOUT_MS)),
          )),
      },
      { name: "settings sync", run: () => settingsSync.stop() },
      { name: "suspects' quota", run: () => suspectQuota.stop() },
      { name: "heartbeat", run: () => heartbeat.stop() },
      { name: "isolation", run: async () => isolation.stop() },
      { name: "breakers", run: async () => breakers.stop() },
      { name: "database watch", run: async () => databaseWatch.stop() },
      {
        name: "redis watch",
        run: async () => {
          redisWatch.stop();
          server.stop();
        },
      },
      { name: "sweeper", run: () => sweeper.stop() },
      { name: "event notifier", run: async () => notifier.stop() },
      { name: "webhooks", run: () => webhooks.stop() },
      { name: "relay", run: () => relay.stop() },
      { name: "relay's Redis", run: async () => relayRedis.disconnect() },
      { name: "queues", run: () => queues.close() },
      { name: "redis", run: async () => redis.disconnect() },
      { name: "database", run: () => database.close() },
      { name: "metrics", run: () => metricsServer.close() },
      { name: "tracing", run: () => tracing.stop() },
    ],
  });
  const metricsUrl =
    config.METRICS_PORT === undefined
      ? undefined
      : await metricsServer.listen(config.METRICS_PORT, config.HOST);
  watchdog.start();
  await settingsSync.start();
  await suspectQuota.start();
  await Promise.all([...workers.values()].map((worker) => worker.start()));
  sweeper.start();
  relay.start();
  webhooks.start();
  heartbeat.start();
  announce(log, { stages: steps.map((step) => step.name), metrics: metricsUrl }, "worker ready");
}

/** How the circuit breaker of a stage holds the worker of this process. */
function gateTo(worker: StageWorker | undefined): Gate | undefined {
  return (
    worker && {
      shut: () => void worker.hold("circuit"),
      ajar: () => {
        worker.setConcurrency(shareOf(worker.settings.concurrency));
        void worker.release("circuit");
      },
      open: () => {
        worker.setConcurrency();
        void worker.release("circuit");
      },
    }
  );
}

/** The same program beside this file, whether it runs from the sources or was compiled. */
function forkIsolated(): ChildProcess {
  return fork(path.join(import.meta.dirname, "isolation", `main${path.extname(import.meta.filename)}`));
}

runMain(main);
