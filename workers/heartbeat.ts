import { randomUUID } from "node:crypto";
import { hostname } from "node:os";
import type { Redis } from "ioredis";
import { beat, lastBeat } from "../queues/telemetry/heartbeats.ts";
import { addCounts, type MinuteCounts } from "../queues/telemetry/minute-counts.ts";
import type { Logger } from "../src/platform/log.ts";
import type { Service } from "../src/platform/service.ts";
import type { Step } from "../src/order/stage.ts";
import { describeError } from "../src/platform/describe-error.ts";
import { Repeat } from "../src/platform/repeat.ts";
import type { StageBreakers } from "../src/engine/breakers.ts";
import type { AttemptObserver } from "../src/engine/metrics.ts";
import type { StageWorker } from "./stage-worker.ts";

/** Milliseconds between two heartbeats. A worker counts as gone when four in a row are missing. */
const INTERVAL_MS = 3_000;

export interface WorkerHeartbeatOptions {
  readonly redis: Redis;
  readonly workers: readonly Pick<StageWorker, "name" | "held" | "concurrency" | "isPaused">[];
  readonly breakers: Pick<StageBreakers, "troubles">;
  readonly counts: MinuteCounts;
  readonly log: Logger;
  readonly intervalMs?: number;
}

/**
 * Tells operators, by way of Redis, that this worker is alive, what it works on, and what it has done: a few commands
 * every few seconds, however many orders there are. While Redis is away it says nothing, and what was counted meanwhile
 * is forgotten.
 */
export class WorkerHeartbeat implements Service {
  readonly name = "heartbeat";
  readonly #options: WorkerHeartbeatOptions;
  readonly #self = {
    id: randomUUID(),
    host: hostname(),
    pid: process.pid,
    startedAt: new Date().toISOString(),
  };
  readonly #beats: Repeat;

  constructor(options: WorkerHeartbeatOptions) {
    this.#options = options;
    this.#beats = new Repeat({
      run: () => this.#beat(),
      everyMs: options.intervalMs ?? INTERVAL_MS,
      onError: (error) => options.log.debug({ error: describeError(error) }, "could not send a heartbeat"),
    });
  }

  /** By which other workers know this one. */
  get id(): string {
    return this.#self.id;
  }

  /** Begins at once. */
  start(): void {
    this.#beats.start();
  }

  /** Says that this worker is gone, and what it has done until now. */
  async stop(): Promise<void> {
    const stopped = this.#beats.stop();
    const { redis, counts, log } = this.#options;
    if (redis.status !== "ready") return;
    await stopped;
    try {
      await addCounts(redis, counts.take());
      await lastBeat(redis, this.#self.id);
    } catch (error) {
      log.debug({ error: describeError(error) }, "could not remove the heartbeat");
    }
  }

  async #beat(): Promise<void> {
    const { redis, workers, breakers, counts } = this.#options;
    const taken = counts.take();
    // Commands would wait for the connection, and one heartbeat for the other.
    if (redis.status !== "ready") return;
    await addCounts(redis, taken);
    await beat(redis, {
      ...this.#self,
      steps: workers.map(({ name, held, concurrency, isPaused }) => ({
        name,
        held,
        concurrency,
        standsStill: isPaused,
      })),
      open: breakers.troubles,
    });
  }
}

/** The observer of a step's attempts, which also counts those that brought an order on, and those that failed. */
export function alsoCounting(
  observer: AttemptObserver,
  counts: Pick<MinuteCounts, "done" | "failed">,
  { name }: Pick<Step, "name">,
): AttemptObserver {
  return {
    ...observer,
    ended(outcome, seconds) {
      observer.ended(outcome, seconds);
      if (outcome === "done" || outcome === "cancelled") counts.done(name, seconds * 1_000);
      if (outcome === "failed" || outcome === "retried") counts.failed(name);
    },
  };
}
