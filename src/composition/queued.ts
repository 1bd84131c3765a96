import { EventLog } from "../../db/event-log.ts";
import { readRelayLag } from "../../db/relay-positions.ts";
import { watchQueues } from "../api/queue-metrics.ts";
import { watchRelay } from "../api/relay-metrics.ts";
import { Hub } from "../events/live/hub.ts";
import { StreamSource } from "../events/live/sources.ts";
import type { Base } from "./base.ts";
import type { QueuedApiConfig } from "./config.ts";
import { openIntake } from "./engine.ts";
import type { Mode } from "./mode.ts";
import { openQueues, redisServer } from "./queues.ts";

/** Processing by workers, through queues. @throws {ForeignRedisError} {RedisUrlError} */
export async function openQueued(config: QueuedApiConfig, base: Base): Promise<Mode> {
  const { database, metrics, log } = base;
  const server = redisServer(config, base);
  await server.checkAtStart();
  const { redis, queues, onEvents, services } = openQueues(config, base, {
    server,
    redis: server.connectProducer(),
  });
  watchQueues(metrics, queues);
  watchRelay(metrics, () => readRelayLag(database, "stream"));
  const intake = openIntake(config, base, { dispatcher: queues, onEvents, queues: { queues, redis } });
  const events = new EventLog(database);
  const liveRedis = server.connectWorker();
  // The main connection logs it.
  liveRedis.on("error", () => undefined);
  const source = new StreamSource({ log: events, redis: liveRedis });
  return {
    app: {
      live: new Hub({ database, log: events, source, logger: log }),
      redis,
      queues,
      ...intake.app,
    },
    onEvents,
    services: [...services, ...intake.services],
    beforeRequests: [],
  };
}
