import type { Executor } from "../engine/executor.ts";
import { Services } from "../platform/service.ts";
import type { Tracing } from "../platform/tracing/contract.ts";
import { openBase } from "./base.ts";
import type { WorkerConfig } from "./config.ts";
import { openExecutor } from "./engine.ts";
import { connectPorts } from "./providers.ts";
import { openQueues, redisServer } from "./queues.ts";

/** The parts of a worker's isolated process. */
export interface Isolated {
  readonly executor: Pick<Executor, "execute">;
  readonly tracing: Tracing;
  readonly services: Services;
}

/**
 * Opens a worker's isolated process. It must start whether MySQL and Redis are there or not: a process that ends is
 * taken to have crashed over its order.
 */
export async function openIsolated(config: WorkerConfig): Promise<Isolated> {
  const base = await openBase("isolated", config);
  const { database, commit, tracing, log } = base;
  const server = redisServer(config, base);
  const { queues, onEvents, services } = openQueues(config, base, { server, redis: server.connectWorker() });
  const executor = openExecutor(base, {
    ports: connectPorts(config, database, commit),
    dispatcher: queues,
    onEvents,
  });
  return {
    executor: tracing.attempts(executor),
    tracing,
    services: new Services([...base.services, ...services], log),
  };
}
