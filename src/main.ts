import { Database } from "../db/database.ts";
import { connectProducer } from "../queues/connection.ts";
import { Queues } from "../queues/queues.ts";
import packageJson from "../package.json" with { type: "json" };
import { Cancellation } from "./cancellation.ts";
import { loadConfig, PROCESSES, stageOverrides } from "./config.ts";
import { COMMITS } from "./group-commit.ts";
import { createApp, listenerOf } from "./http/app.ts";
import { HttpServer } from "./http/server.ts";
import { Intake } from "./intake.ts";
import { announce, createLogger } from "./log.ts";
import { lifecycle } from "./order/lifecycle.ts";
import { describe, shutDownOnSignal } from "./shutdown.ts";
import { checkDatabase, runMain } from "./startup.ts";

/** The API process: configuration -> connections -> app -> listen -> shutdown. */
async function main(): Promise<void> {
  const config = loadConfig(PROCESSES.api, process.env);
  const log = createLogger({ name: "api", level: config.LOG_LEVEL });

  const database = new Database({
    url: config.DATABASE_URL,
    poolSize: config.DATABASE_POOL_SIZE,
    timeoutMs: config.DATABASE_TIMEOUT_MS,
  });
  await checkDatabase(database, lifecycle);
  const redis = connectProducer(config.REDIS_URL);
  redis.on("error", (error) => log.warn({ error: describe(error) }, "Redis does not answer"));
  const queues = new Queues({
    connection: redis,
    steps: lifecycle.steps,
    overrides: stageOverrides(config),
    onError: (error) => log.warn({ error: describe(error) }, "queue error"),
  });
  const intake = new Intake({ database, queues, lifecycle, commit: COMMITS[config.GROUP_COMMIT], log });

  const cancellation = new Cancellation({ database, queues, lifecycle, log });

  const app = createApp({
    database,
    redis,
    queues,
    accept: (order) => intake.accept(order),
    cancel: (orderId, reason) => cancellation.request(orderId, reason),
    apiKeys: config.API_KEYS,
    version: packageJson.version,
    log,
  });
  const server = new HttpServer(listenerOf(app));
  shutDownOnSignal({
    log,
    timeoutMs: config.SHUTDOWN_TIMEOUT_MS,
    steps: [
      { name: "http", run: () => server.close() },
      { name: "intake", run: () => intake.idle() },
      { name: "cancellation", run: () => cancellation.idle() },
      { name: "queues", run: () => queues.close() },
      { name: "redis", run: async () => redis.disconnect() },
      { name: "database", run: () => database.close() },
    ],
  });
  announce(log, { url: await server.listen(config.PORT, config.HOST) }, "listening");
}

runMain(main);
