import { readInstallationId } from "../../db/identity.ts";
import { checkWrites } from "../../db/write-check.ts";
import { readBacklogs } from "../../queues/backlog.ts";
import { send } from "../../queues/connection.ts";
import { keyBesideQueue, witnessKeys } from "../../queues/keys.ts";
import { DatabaseLease } from "../../db/leases.ts";
import { Marker } from "../../queues/marker.ts";
import { MinuteCounts } from "../../queues/telemetry/minute-counts.ts";
import type { WorkerArguments } from "../../workers/arguments.ts";
import { alsoCounting, WorkerHeartbeat } from "../../workers/heartbeat.ts";
import { Isolation } from "../../workers/isolation/isolation.ts";
import { ServerWatch } from "../../workers/server-watch.ts";
import { settingsSync } from "../../workers/settings-sync.ts";
import { StageWorker } from "../../workers/stage-worker.ts";
import { suspectQuota } from "../../workers/suspect-quota.ts";
import { Watchdog } from "../../workers/watchdog.ts";
import { StageBreakers } from "../engine/breakers.ts";
import type { Rollout } from "../engine/rollout.ts";
import { FailureLog } from "../engine/failure-log.ts";
import { StageMetrics } from "../engine/metrics.ts";
import { Relay } from "../events/relay/relay.ts";
import { lifecycle } from "../order/lifecycle.ts";
import type { Ports } from "../order/ports.ts";
import { settingsOf } from "../order/stage.ts";
import type { Logger } from "../platform/log.ts";
import { opened, Services, type Listening, type Service } from "../platform/service.ts";
import { openHandOver } from "./hand-over.ts";
import { metricsPort, openBase, type Base } from "./base.ts";
import { checkDatabase } from "./check-database.ts";
import { stageOverrides, type WorkerConfig } from "./config.ts";
import { openExecutor, openSweeper } from "./engine.ts";
import { connectProviders, openRefundRunner, portsOf } from "./providers.ts";
import { openQueues, redisServer, type OpenQueues } from "./queues.ts";
import { openRollout } from "./rollout.ts";
import { openWebhooks } from "./webhooks.ts";

/** Expiry of the keys that probe whether Redis takes writes. */
const PROBE_SECONDS = 60;

/** A worker process. */
export interface Worker {
  readonly log: Logger;
  readonly services: Services;
  readonly metrics: Listening;
}

/** Builds a worker process without starting it. @throws {StartupError} if a server or a module does not fit this version. */
export async function openWorker(config: WorkerConfig, given: WorkerArguments): Promise<Worker> {
  const base = await openBase("worker", config);
  const { database, metrics, log } = base;
  const stageMetrics = new StageMetrics(metrics, lifecycle);
  await checkDatabase(database, config);
  const server = redisServer(config, base);
  await server.checkAtStart();
  const open = openQueues(config, base, { server, redis: server.connectWorker() });
  const { redis, queues } = open;
  const providers = await connectProviders(config, database, base.commit);
  const ports = portsOf(providers, config, base);
  const rollout = openRollout(config, base);
  const stages = openStages(config, given, base, { ...open, ports, stageMetrics, rollout });
  const { workers } = stages;

  const relayRedis = server.connectProducer();
  // The main connection logs it.
  relayRedis.on("error", () => undefined);
  const connectListener = () => server.connectWorker();
  const scraped = metricsPort(config, metrics, () => services.running, log);
  const all = [
    ...base.services,
    scraped,
    ...open.services,
    opened("relay's Redis", () => relayRedis.disconnect()),
    new Relay({ database, redis: relayRedis, connectListener, length: config.EVENTS_STREAM_LENGTH, log }),
    openWebhooks(config, base, connectListener),
    rollout,
    openRefundRunner(config, base, {
      provider: providers.payments,
      onEvents: open.onEvents,
      lease: new DatabaseLease(database, "refunds"),
    }),
    openSweeper(config, base, {
      dispatcher: queues,
      lease: rollout.whileInForce(new DatabaseLease(database, "sweeper")),
      marker: new Marker(redis, () => readInstallationId(database), witnessKeys(redis, lifecycle.steps)),
      observer: stageMetrics,
    }),
    ...stages.services,
    // Before the stages, so that a paused queue is paused before any job is taken.
    settingsSync({ database, redis, queues, log }),
    suspectQuota({ redis, queues, workers, self: stages.heartbeat.id, log }),
    {
      name: "stages",
      start: () => forAll(workers, (worker) => worker.start()),
      stop: () => forAll(workers, (worker) => worker.stop(config.SHUTDOWN_TIMEOUT_MS)),
    },
    new Watchdog({
      readBacklogs: (watched) => readBacklogs(server, watched),
      workers,
      log,
      afterMs: config.WEDGED_AFTER_MS,
    }),
  ];
  const services = new Services(all, log);
  return { log, services, metrics: scraped };
}

/** The stage workers and what they need. */
function openStages(
  config: WorkerConfig,
  { steps, concurrency, crashHook }: WorkerArguments,
  { database, store, commit, tracing, log }: Base,
  {
    redis,
    queues,
    onEvents,
    ports,
    stageMetrics,
    rollout,
  }: OpenQueues & {
    readonly ports: Ports;
    readonly stageMetrics: StageMetrics;
    readonly rollout: Rollout;
  },
): { workers: readonly StageWorker[]; heartbeat: WorkerHeartbeat; services: readonly Service[] } {
  const workers: StageWorker[] = [];
  const workerOf = (stage: { readonly name: string }) => workers.find(({ name }) => name === stage.name);
  const breakers = new StageBreakers({
    stages: lifecycle.stages,
    ports,
    gateOf: (stage) => workerOf(stage)?.gate,
    suspectsOf: (step) => workerOf(step)?.suspects,
    probeIntervalMs: config.PROBE_INTERVAL_MS,
    log,
  });
  const own = openExecutor({ store, commit }, { ports, onEvents, breakers, rollout, crashHook });
  const executor = tracing.attempts(own);
  const isolation = new Isolation({ carriedTrace: () => tracing.carried(), lifecycle, log });
  const databaseWatch = new ServerWatch({ server: "MySQL", probe: () => checkWrites(database), log });
  // Only for a Redis that refuses writes, which BullMQ would ask for jobs in a busy loop. Connections to an unreachable
  // one wait by themselves.
  const redisWatch = new ServerWatch({
    server: "Redis",
    // In every shard that has jobs.
    probe: () =>
      send(
        redis,
        steps.map((step) => ["set", keyBesideQueue(redis, step, "probe"), 1, "EX", PROBE_SECONDS]),
      ),
    log,
  });
  const outages = {
    databaseAway: (how: string, error: string) => databaseWatch.reportAway(how, error),
    redisAway: () => redisWatch.reportAway("Redis takes no writes"),
    judge: breakers.judge.bind(breakers),
    probeIntervalMs: config.PROBE_INTERVAL_MS,
  };
  const counts = new MinuteCounts();
  const heartbeat = new WorkerHeartbeat({ redis, workers, breakers, rollout, counts, log });
  const handOver = openHandOver(config, { commit }, { redis, queues }, { workerOf, heartbeat, crashHook });
  const failures = new FailureLog({ store, lifecycle, commit, onEvents });
  const overrides = stageOverrides(config);
  for (const step of steps) {
    const worker = new StageWorker({
      step,
      settings: settingsOf(step, concurrency === undefined ? overrides : { ...overrides, concurrency }),
      connection: redis,
      handOver,
      executor,
      isolation,
      turns: queues.turnsOf(step),
      outages,
      telemetry: tracing.jobs?.telemetry,
      observer: alsoCounting(stageMetrics.of(step), counts, step),
      log,
      failures,
      stillFails: own.stillFails.bind(own),
    });
    workers.push(worker);
    databaseWatch.add(worker);
    rollout.add(worker);
    redisWatch.add(worker);
  }
  stageMetrics.watchBreakers((stage) => breakers.troubleOf(stage));
  stageMetrics.watchWorkers(() =>
    workers.map(({ name, concurrency: most, held, suspects }) => ({
      stage: name,
      concurrency: most,
      held,
      suspects: suspects.taken,
    })),
  );
  const services = [
    opened("watch over MySQL", () => databaseWatch.stop()),
    opened("watch over Redis", () => redisWatch.stop()),
    opened("breakers", () => breakers.stop()),
    opened("isolation", () => isolation.stop()),
    heartbeat,
  ];
  return { workers, heartbeat, services };
}

async function forAll<T>(all: readonly T[], work: (one: T) => Promise<void>): Promise<void> {
  await Promise.all(all.map(work));
}
