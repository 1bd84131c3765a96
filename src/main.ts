import { createServer, type Server } from "node:http";
import { Database } from "../db/database.ts";
import { connectProducer } from "../queues/connection.ts";
import { Queues } from "../queues/queues.ts";
import packageJson from "../package.json" with { type: "json" };
import { Cancellation } from "./cancellation.ts";
import { loadConfig, PROCESSES, stageOverrides } from "./config.ts";
import { createApp } from "./http/app.ts";
import { Intake } from "./intake.ts";
import { announce, createLogger } from "./log.ts";
import { lifecycle } from "./order/lifecycle.ts";
import { describe, shutDownOnSignal } from "./shutdown.ts";
import { checkDatabase, runMain, StartupError } from "./startup.ts";

/** The API process: configuration -> connections -> app -> listen -> shutdown. */
async function main(): Promise<void> {
  const config = loadConfig(PROCESSES.api, process.env);
  const log = createLogger({ name: "api", level: config.LOG_LEVEL });

  const database = new Database({ url: config.DATABASE_URL, poolSize: config.DATABASE_POOL_SIZE });
  await checkDatabase(database, lifecycle);
  const redis = connectProducer(config.REDIS_URL);
  redis.on("error", (error) => log.warn({ error: describe(error) }, "Redis does not answer"));
  const queues = new Queues({
    connection: redis,
    stages: lifecycle.stages,
    overrides: stageOverrides(config),
    onError: (error) => log.warn({ error: describe(error) }, "queue error"),
  });
  const intake = new Intake({ database, queues, lifecycle, log });

  const cancellation = new Cancellation({ database, queues, lifecycle, log });

  const server = createServer(
    createApp({
      database,
      redis,
      queues,
      accept: (order) => intake.accept(order),
      cancel: (orderId, reason) => cancellation.request(orderId, reason),
      apiKeys: config.API_KEYS,
      version: packageJson.version,
      log,
    }),
  );
  shutDownOnSignal({
    log,
    timeoutMs: config.SHUTDOWN_TIMEOUT_MS,
    steps: [
      { name: "http", run: () => close(server) },
      { name: "intake", run: () => intake.idle() },
      { name: "cancellation", run: () => cancellation.idle() },
      { name: "queues", run: () => queues.close() },
      { name: "redis", run: async () => redis.disconnect() },
      { name: "database", run: () => database.close() },
    ],
  });
  const port = await listen(server, config.PORT, config.HOST);
  announce(log, { url: `http://${config.HOST}:${port}` }, "listening");
}

/** @returns the port, which is a free one when 0 was asked for. @throws {StartupError} */
function listen(server: Server, port: number, host: string): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once("error", (error: NodeJS.ErrnoException) => {
      const why: Record<string, string> = {
        EADDRINUSE: `port ${port} of ${host} is taken: set PORT to another one`,
        EACCES: `port ${port} needs more rights than this process has: set PORT to 1024 or above`,
        EADDRNOTAVAIL: `${host} is no address of this machine: set HOST to one`,
        ENOTFOUND: `${host} is no address of this machine: set HOST to one`,
      };
      reject(new StartupError(why[error.code ?? ""] ?? `cannot listen on ${host}:${port}: ${error.message}`));
    });
    server.listen(port, host, () => {
      const bound = server.address();
      resolve(typeof bound === "object" && bound !== null ? bound.port : port);
    });
  });
}

/** Takes no more connections, and waits for the answers under way. */
function close(server: Server): Promise<void> {
  return new Promise((resolve, reject) => {
    server.close((error) => (error ? reject(error) : resolve()));
    server.closeIdleConnections();
  });
}

runMain(main);
