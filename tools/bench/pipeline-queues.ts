import { setTimeout as delay } from "node:timers/promises";
import { QueueEvents } from "bullmq";
import { Redis } from "ioredis";
import { Failure } from "../shared/failure.ts";
import { queuePrefix } from "../../queues/keys.ts";
import { Queues } from "../../queues/queues.ts";
import { CREATED, lifecycle } from "../../src/order/lifecycle.ts";
import type { BenchProcess } from "./process.ts";

const POLL_EVERY_MS = 20;
const PATIENCE_MS = 30_000;
/** Jobs added at once. */
const PAGE = 1_000;

/** The pipeline's queues, used from outside, whether the service or bare BullMQ processes them. */
export class PipelineQueues {
  readonly #redis: Redis;
  readonly #queues: Queues;
  readonly #events: QueueEvents;
  /** Orders whose last job is done, and the callbacks of those that are awaited. */
  readonly #finished = new Set<string>();
  readonly #waiting = new Map<string, () => void>();

  constructor(redisUrl: string) {
    this.#redis = new Redis(redisUrl, { maxRetriesPerRequest: null });
    const last = lifecycle.stages.at(-1);
    if (last === undefined) throw new Error("a pipeline has a last stage");
    const onError = () => {};
    this.#redis.on("error", onError);
    this.#queues = new Queues({ connection: this.#redis, lifecycle, onError });
    this.#events = new QueueEvents(last.name, {
      connection: this.#redis,
      prefix: queuePrefix(this.#redis, last),
      autorun: false,
    });
    this.#events.on("error", onError);
    this.#events.on("completed", ({ jobId }) => {
      const orderId = jobId.slice(0, ID_LENGTH);
      this.#finished.add(orderId);
      this.#waiting.get(orderId)?.();
    });
  }

  /** Adds orders to the first queue. */
  async add(orderIds: readonly string[]): Promise<void> {
    const transition = lifecycle.due(CREATED);
    if (transition === undefined) throw new Error("a pipeline has a first stage");
    for (let start = 0; start < orderIds.length; start += PAGE)
      await this.#queues.enqueue(
        orderIds.slice(start, start + PAGE).map((orderId) => ({ orderId, transition })),
      );
  }

  /** Pauses the first queue; orders in later queues continue. */
  async hold(): Promise<void> {
    await this.#first.pause();
  }

  /** Resumes the first queue. */
  async release(): Promise<void> {
    await this.#first.resume();
  }

  /** Drops the waiting jobs of the first queue. */
  async discard(): Promise<void> {
    await this.#first.drain();
  }

  /** The number of jobs waiting in the first queue. */
  async countWaiting(): Promise<number> {
    return this.#first.getWaitingCount();
  }

  /** Waits until this many jobs wait in the first queue: the API adds them after it has answered. */
  async untilWaiting(count: number, signal: AbortSignal): Promise<void> {
    const deadline = Date.now() + PATIENCE_MS;
    for (;;) {
      const waiting = await this.countWaiting();
      if (waiting >= count) return;
      if (Date.now() > deadline) throw new Failure(`${waiting} jobs are waiting instead of ${count}`);
      await delay(POLL_EVERY_MS, undefined, { signal });
    }
  }

  /**
   * Waits until no job is waiting, active or delayed.
   *
   * @throws when aborted, or if a worker exits
   */
  async untilEmpty(workers: readonly BenchProcess[], signal: AbortSignal): Promise<void> {
    while ((await this.countJobs()) > 0) {
      for (const worker of workers) worker.assertRunning();
      await delay(POLL_EVERY_MS, undefined, { signal });
    }
  }

  /** Counts the unfinished jobs of all queues. */
  async countJobs(): Promise<number> {
    const pipeline = this.#redis.pipeline();
    for (const queue of this.#queues.all) {
      for (const list of ["wait", "active"]) pipeline.llen(queue.toKey(list));
      pipeline.zcard(queue.toKey("delayed"));
    }
    const answers = (await pipeline.exec()) ?? [];
    return answers.reduce((sum, [error, count]) => {
      if (error) throw error;
      return sum + Number(count);
    }, 0);
  }

  /** Starts listening to the last queue, for {@link finished}. */
  async listen(): Promise<void> {
    await this.#events.waitUntilReady();
    void this.#events.run();
  }

  /** Resolves when an order's last job is done, or was done since {@link listen}. @throws {Failure} */
  async finished(orderId: string, withinMs: number): Promise<void> {
    if (this.#finished.has(orderId)) return;
    await new Promise<void>((resolve, reject) => {
      const late = setTimeout(() => {
        this.#waiting.delete(orderId);
        reject(new Failure(`order ${orderId} was not finished within ${withinMs / 1_000} s`));
      }, withinMs);
      this.#waiting.set(orderId, () => {
        clearTimeout(late);
        this.#waiting.delete(orderId);
        resolve();
      });
    });
  }

  /** Bytes that Redis uses for data. */
  async memory(): Promise<number> {
    const info = await this.#redis.info("memory");
    return Number(/^used_memory_dataset:(\d+)/m.exec(info)?.[1] ?? Number.NaN);
  }

  async close(): Promise<void> {
    await this.#events.close();
    await this.#queues.close();
    this.#redis.disconnect();
  }

  get #first() {
    const [first] = lifecycle.stages;
    if (first === undefined) throw new Error("a pipeline has a first stage");
    return this.#queues.of(first);
  }
}

/** Length of an order's UUID, which a job's id begins with. */
const ID_LENGTH = 36;
