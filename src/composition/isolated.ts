import type { Executor } from "../engine/executor.ts";
import { Services } from "../platform/service.ts";
import type { Tracing } from "../platform/tracing/contract.ts";
import { openBase } from "./base.ts";
import type { WorkerConfig } from "./config.ts";
import { openExecutor } from "./engine.ts";
import { connectPorts } from "./providers.ts";
import { openQueues, redisServer } from "./queues.ts";
import { openRollout } from "./rollout.ts";

/** A worker's isolated process. */
export interface Isolated {
  readonly executor: Pick<Executor, "execute">;
  readonly tracing: Tracing;
  readonly services: Services;
}

/**
 * Builds a worker's isolated process. It must start even without MySQL and Redis, because an exit counts as a crash
 * caused by its order.
 */
export async function openIsolated(config: WorkerConfig): Promise<Isolated> {
  const base = await openBase("isolated", config);
  const { database, commit, tracing, log } = base;
  const server = redisServer(config, base);
  const { onEvents, services } = openQueues(config, base, { server, redis: server.connectWorker() });
  const executor = openExecutor(base, {
    ports: await connectPorts(config, database, commit),
    onEvents,
    rollout: openRollout(config, base),
  });
  return {
    executor: tracing.attempts(executor),
    tracing,
    services: new Services([...base.services, ...services], log),
  };
}
