import type { Connection } from "../../queues/connection.ts";
import { readInstallationId } from "../../db/identity.ts";
import { reasonOf } from "../../queues/errors.ts";
import { Queues } from "../../queues/queues.ts";
import { RedisServer } from "../../queues/server.ts";
import { EventNotifier } from "../events/notifier.ts";
import { notificationChannelOf } from "../events/stream.ts";
import { lifecycle } from "../order/lifecycle.ts";
import { describeError } from "../platform/describe-error.ts";
import { opened, type Service } from "../platform/service.ts";
import type { Base } from "./base.ts";
import { stageOverrides, type WorkerConfig } from "./config.ts";

/** What a process with queues has. */
export interface OpenQueues {
  readonly redis: Connection;
  readonly queues: Queues;
  /** Announces new events. */
  readonly onEvents: () => void;
  readonly services: readonly Service[];
}

type QueueConfig = Pick<WorkerConfig, "REDIS_URL" | "REDIS_PREFIX" | "STAGE_ATTEMPTS" | "STAGE_BACKOFF_MS">;

/**
 * The process's Redis, which must belong to this installation. Check the database first: it holds the installation's
 * id.
 */
export function redisServer(config: QueueConfig, { database }: Base): RedisServer {
  return new RedisServer({
    url: config.REDIS_URL,
    prefix: config.REDIS_PREFIX,
    installation: once(() => readInstallationId(database)),
  });
}

/** Opens the queues over a connection to this server. */
export function openQueues(
  config: QueueConfig,
  { log, tracing }: Base,
  { server, redis }: { readonly server: RedisServer; readonly redis: Connection },
): OpenQueues {
  redis.on("error", (error) => log.warn({ error: describeError(reasonOf(error)) }, "Redis does not answer"));
  const queues = new Queues({
    connection: redis,
    lifecycle,
    overrides: stageOverrides(config),
    tracing: tracing.jobs,
    onError: (error) => log.warn({ error: describeError(error) }, "queue error"),
  });
  // Announcements missed while Redis is not connected are made up for when it is.
  let isDue = false;
  const notifier = new EventNotifier(() => {
    isDue = redis.status !== "ready";
    if (!isDue) redis.publish(notificationChannelOf(redis), "").catch(() => undefined);
  });
  redis.on("ready", () => isDue && notifier.notify());
  return {
    redis,
    queues,
    onEvents: () => notifier.notify(),
    services: [
      opened("redis", () => redis.disconnect()),
      opened("queues", () => queues.close()),
      opened("event notifier", () => notifier.stop()),
      { name: "redis watch", start: () => server.watch(redis), stop: () => server.stop() },
    ],
  };
}

/** Caches the first successful answer. */
function once<T>(ask: () => Promise<T>): () => Promise<T> {
  let answer: Promise<T> | undefined;
  return () =>
    (answer ??= ask().catch((error: unknown) => {
      answer = undefined;
      throw error;
    }));
}
