import { Database } from "../db/database.ts";
import { markFailed } from "../db/orders.ts";
import { readBacklogs } from "../queues/backlog.ts";
import { connectWorker } from "../queues/connection.ts";
import { Queues } from "../queues/queues.ts";
import { loadConfig, PROCESSES, stageOverrides } from "../src/config.ts";
import { announce, createLogger } from "../src/log.ts";
import { lifecycle } from "../src/order/lifecycle.ts";
import { settingsOf } from "../src/order/stage.ts";
import { describe, shutDownOnSignal } from "../src/shutdown.ts";
import { checkDatabase, runMain } from "../src/startup.ts";
import { parseWorkerArguments } from "./arguments.ts";
import { DatabaseWatch } from "./database-watch.ts";
import { Executor } from "./executor.ts";
import { connectPorts } from "./gateways/ports.ts";
import { StageWorker } from "./stage-worker.ts";
import { GroupedStore } from "./store.ts";
import { Sweeper } from "./sweeper.ts";
import { Watchdog } from "./watchdog.ts";

/** The worker process: configuration -> connections -> executor -> one worker a stage -> shutdown. */
async function main(): Promise<void> {
  const { steps, concurrency } = parseWorkerArguments(process.argv.slice(2), lifecycle.steps);
  const config = loadConfig(PROCESSES.worker, process.env);
  const overrides = stageOverrides(config);
  const log = createLogger({ name: "worker", level: config.LOG_LEVEL });

  const database = new Database({ url: config.DATABASE_URL, poolSize: config.DATABASE_POOL_SIZE });
  await checkDatabase(database, lifecycle);
  const redis = connectWorker(config.REDIS_URL);
  redis.on("error", (error) => log.warn({ error: describe(error) }, "Redis does not answer"));
  const queues = new Queues({
    connection: redis,
    steps: lifecycle.steps,
    overrides,
    onError: (error) => log.warn({ error: describe(error) }, "queue error"),
  });

  const executor = new Executor({
    lifecycle,
    ports: connectPorts(config, database),
    store: new GroupedStore(database, queues),
  });

  const watch = new DatabaseWatch({ database, log });
  const workers = steps.map(
    (step) =>
      new StageWorker({
        step,
        settings: settingsOf(step, concurrency === undefined ? overrides : { ...overrides, concurrency }),
        connection: redis,
        executor,
        log,
        reportDatabaseAway: () => watch.reportAway(),
        markFailed: ({ orderId, reason }) =>
          markFailed(database, {
            orderId,
            whileIn: lifecycle.statusesIn(step),
            stage: step.name,
            reason,
            at: new Date(),
          }),
      }),
  );

  for (const worker of workers) watch.add(worker);
  const watchdog = new Watchdog({
    readBacklogs: (watched) => readBacklogs(config.REDIS_URL, watched),
    workers,
    log,
    afterMs: config.WEDGED_AFTER_MS,
  });

  const sweeper = new Sweeper({
    database,
    redis,
    queues,
    lifecycle,
    log,
    intervalMs: config.SWEEP_INTERVAL_MS,
    afterMs: config.SWEEP_AFTER_MS,
  });

  shutDownOnSignal({
    log,
    timeoutMs: config.SHUTDOWN_TIMEOUT_MS,
    steps: [
      { name: "watchdog", run: async () => watchdog.stop() },
      {
        name: "workers",
        run: async () =>
          void (await Promise.all(workers.map((worker) => worker.stop(config.SHUTDOWN_TIMEOUT_MS)))),
      },
      { name: "watch", run: async () => watch.stop() },
      { name: "sweeper", run: () => sweeper.stop() },
      { name: "queues", run: () => queues.close() },
      { name: "redis", run: async () => redis.disconnect() },
      { name: "database", run: () => database.close() },
    ],
  });
  watchdog.start();
  await Promise.all(workers.map((worker) => worker.start()));
  sweeper.start();
  announce(log, { stages: steps.map((step) => step.name) }, "worker ready");
}

runMain(main);
