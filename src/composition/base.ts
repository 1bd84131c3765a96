import { Database } from "../../db/database.ts";
import { findTraceparents } from "../../db/order-events.ts";
import { orderStore } from "../../db/order-store.ts";
import packageJson from "../../package.json" with { type: "json" };
import type { OrderStore } from "../engine/ports.ts";
import { COMMITS, type Commit } from "../platform/group-commit.ts";
import { ClockWatch } from "../platform/clock-watch.ts";
import { createLogger, type Logger } from "../platform/log.ts";
import { MetricsServer } from "../platform/metrics-server.ts";
import { Metrics } from "../platform/metrics.ts";
import { Listening, opened, type Service } from "../platform/service.ts";
import type { Tracing } from "../platform/tracing/contract.ts";
import { startTracing } from "../platform/tracing/tracing.ts";
import type { ApiConfig, WorkerConfig } from "./config.ts";

/** What every process has. */
export interface Base {
  readonly log: Logger;
  readonly tracing: Tracing;
  readonly metrics: Metrics;
  readonly database: Database;
  /** The engine's view of the database. */
  readonly store: OrderStore;
  /** Group commit as configured, with metrics and traces. */
  readonly commit: Commit;
  /** Started before, and stopped after, all others. */
  readonly services: readonly Service[];
}

/** The configuration it reads. */
type BaseConfig = Pick<WorkerConfig, "DATABASE_URL" | "DATABASE_POOL_SIZE" | "GROUP_COMMIT" | "LOG_LEVEL"> &
  Partial<Pick<ApiConfig, "DATABASE_TIMEOUT_MS">>;

/** Service names in traces. The isolated process is part of its worker. */
const TRACED_AS = { api: "conveyor-api", worker: "conveyor-worker", isolated: "conveyor-worker" } as const;

/** Builds what every process has. MySQL is connected on first use. @throws {ConfigError} */
export async function openBase(name: keyof typeof TRACED_AS, config: BaseConfig): Promise<Base> {
  const tracing = await startTracing(process.env, { name: TRACED_AS[name], version: packageJson.version });
  const log = createLogger({ name, level: config.LOG_LEVEL, fields: tracing.logFields });
  tracing.logTo(log);
  const database = new Database({
    url: config.DATABASE_URL,
    poolSize: config.DATABASE_POOL_SIZE,
    ...(config.DATABASE_TIMEOUT_MS === undefined ? {} : { timeoutMs: config.DATABASE_TIMEOUT_MS }),
  });
  tracing.readTraceparents((orderIds) => findTraceparents(database, orderIds));
  const metrics = new Metrics();
  metrics.watchPool(config.DATABASE_POOL_SIZE, () => database.use);
  return {
    log,
    tracing,
    metrics,
    database,
    store: orderStore(database),
    commit: metrics.measured(tracing.commit(COMMITS[config.GROUP_COMMIT])),
    services: [
      opened("tracing", () => tracing.stop()),
      opened("database", () => database.close()),
      new ClockWatch(() => database.readClock(), log),
    ],
  };
}

/** The process's own port for Prometheus and for orchestrators, if it has one. */
export function metricsPort(
  { METRICS_PORT, HOST }: Pick<WorkerConfig, "METRICS_PORT" | "HOST">,
  metrics: Metrics,
  isAccepting: () => boolean,
  log: Logger,
): Listening {
  return new Listening("metrics", new MetricsServer(metrics, isAccepting, log), {
    port: METRICS_PORT,
    host: HOST,
  });
}
