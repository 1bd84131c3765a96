import { randomUUID } from "node:crypto";
import { hostname } from "node:os";
import type { Connection } from "../queues/connection.ts";
import { beat, lastBeat, report, type Heartbeat } from "../queues/telemetry/heartbeats.ts";
import { addCounts, type MinuteCounts } from "../queues/telemetry/minute-counts.ts";
import type { Logger } from "../src/platform/log.ts";
import type { Service } from "../src/platform/service.ts";
import type { Step } from "../src/order/stage.ts";
import { describeError } from "../src/platform/describe-error.ts";
import { Repeat } from "../src/platform/repeat.ts";
import type { StageBreakers } from "../src/engine/breakers.ts";
import type { AttemptObserver } from "../src/engine/metrics.ts";
import type { StageWorker } from "./stage-worker.ts";
import { clockSkewMs, timestamp } from "../src/platform/clock.ts";

/** Heartbeat interval in milliseconds. A worker counts as gone after four missed heartbeats. */
const INTERVAL_MS = 3_000;
/** How soon to look again for a Redis that is not connected yet. Milliseconds. */
const RETRY_MS = 200;

export interface WorkerHeartbeatOptions {
  readonly redis: Connection;
  readonly workers: readonly Pick<StageWorker, "name" | "held" | "guests" | "concurrency" | "isPaused">[];
  readonly breakers: Pick<StageBreakers, "troubles">;
  /** Names the steps that are left to others. */
  readonly rollout?: { readonly left: readonly string[] };
  readonly counts: MinuteCounts;
  readonly log: Logger;
  readonly intervalMs?: number;
}

/**
 * Publishes through Redis that this worker is alive, what it works on, and its recent counts: a few commands every few
 * seconds, however many orders there are. While Redis is away nothing is sent, and counts are dropped.
 */
export class WorkerHeartbeat implements Service {
  readonly name = "heartbeat";
  readonly #options: WorkerHeartbeatOptions;
  readonly #self = {
    id: randomUUID(),
    host: hostname(),
    pid: process.pid,
    startedAt: timestamp().toISOString(),
  };
  readonly #beats: Repeat;
  /** The steps for which heartbeats announce guests, once the first has done so. */
  readonly #announced = new Map<string, Promise<void>>();

  constructor(options: WorkerHeartbeatOptions) {
    this.#options = options;
    this.#beats = new Repeat({
      run: () => this.#beat(),
      everyMs: options.intervalMs ?? INTERVAL_MS,
      onError: (error) => options.log.debug({ error: describeError(error) }, "could not send a heartbeat"),
    });
  }

  /** Identifies this worker to the others. */
  get id(): string {
    return this.#self.id;
  }

  /** Sends the first heartbeat at once. */
  start(): void {
    this.#beats.start();
  }

  /** Removes the heartbeat, and publishes the last counts. */
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

  /**
   * Announces that this worker may have guests in a step, with a heartbeat of its own if the last one did not say so. The
   * guest must be counted before: heartbeats say so until there are none. @throws {Error} from Redis.
   */
  announceGuests({ name }: Pick<Step, "name">): Promise<void> {
    const announced = this.#announced.get(name) ?? report(this.#options.redis, this.#now());
    this.#announced.set(name, announced);
    announced.catch(() => this.#announced.delete(name));
    return announced;
  }

  /** Tells at once, and not with the next heartbeat, that the last guest has left a step. */
  retractGuests(): void {
    report(this.#options.redis, this.#now()).catch((error: unknown) =>
      this.#options.log.debug({ error: describeError(error) }, "could not send a heartbeat"),
    );
  }

  async #beat(): Promise<number | void> {
    const { redis, counts } = this.#options;
    const taken = counts.take();
    // Otherwise commands would queue up until Redis is back.
    if (redis.status !== "ready") return RETRY_MS;
    await addCounts(redis, taken);
    await beat(redis, this.#now());
  }

  /** What to report now: a step with no guests is one that has none announced. */
  #now(): Heartbeat {
    const { workers, breakers, rollout } = this.#options;
    for (const { name, guests } of workers) if (guests === 0) this.#announced.delete(name);
    return {
      ...this.#self,
      clockSkewMs: Math.round(clockSkewMs() ?? 0),
      steps: workers.map(({ name, held, guests, concurrency, isPaused }) => ({
        name,
        held,
        guests,
        concurrency,
        standsStill: isPaused,
      })),
      open: breakers.troubles,
      left: rollout?.left ?? [],
    };
  }
}

/** Wraps an observer so that it also counts completed and failed attempts. */
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
