import { Database } from "../../db/database.ts";
import { readInstallationId } from "../../db/identity.ts";
import { Queues } from "../../queues/queues.ts";
import { RedisServer } from "../../queues/server.ts";
import type { JobTracing } from "../platform/tracing/contract.ts";
import { stageOverrides, type WorkerConfig } from "./config.ts";
import { COMMITS, type Commit } from "../platform/group-commit.ts";
import type { Logger } from "../platform/log.ts";
import { lifecycle } from "../order/lifecycle.ts";
import { describeError } from "../platform/describe-error.ts";
import { connectPorts } from "./providers.ts";

/** The database of a process that carries orders on. Connects when it is first asked. */
export function openDatabase(config: WorkerConfig): Database {
  return new Database({ url: config.DATABASE_URL, poolSize: config.DATABASE_POOL_SIZE });
}

/**
 * What carrying orders on takes beside the database. Redis is connected at once, and asks the database whose it is: so the
 * database must have been checked.
 */
export function openResources(
  config: WorkerConfig,
  database: Database,
  log: Logger,
  commit: Commit = COMMITS[config.GROUP_COMMIT],
  tracing?: JobTracing,
) {
  const server = new RedisServer({
    url: config.REDIS_URL,
    prefix: config.REDIS_PREFIX,
    installation: once(() => readInstallationId(database)),
  });
  const redis = server.connectWorker();
  redis.on("error", (error) => log.warn({ error: describeError(error) }, "Redis does not answer"));
  const queues = new Queues({
    connection: redis,
    steps: lifecycle.steps,
    overrides: stageOverrides(config),
    tracing,
    onError: (error) => log.warn({ error: describeError(error) }, "queue error"),
  });
  return { server, redis, queues, ports: connectPorts(config, database, commit) };
}

/** Asks until it is answered, and then no more. */
function once<T>(ask: () => Promise<T>): () => Promise<T> {
  let answer: Promise<T> | undefined;
  return () =>
    (answer ??= ask().catch((error: unknown) => {
      answer = undefined;
      throw error;
    }));
}
