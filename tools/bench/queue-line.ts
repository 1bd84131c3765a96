import { setTimeout as delay } from "node:timers/promises";
import { QueueEvents } from "bullmq";
import { Redis } from "ioredis";
import { Failure } from "../shared/failure.ts";
import { queuePrefix } from "../../queues/keys.ts";
import { Queues } from "../../queues/queues.ts";
import { CREATED, lifecycle } from "../../src/order/lifecycle.ts";
import type { BenchProcess } from "./process.ts";

const LOOK_EVERY_MS = 20;
const PATIENCE_MS = 30_000;
/** Jobs added in one go. */
const PAGE = 1_000;

/** The queues of a pipeline as an outsider sees them, whoever works on them: the service, or BullMQ alone. */
export class QueueLine {
  readonly #redis: Redis;
  readonly #queues: Queues;
  readonly #events: QueueEvents;
  /** Orders whose last job is done, and those who wait for others. */
  readonly #finished = new Set<string>();
  readonly #waiting = new Map<string, () => void>();

  constructor(redisUrl: string) {
    this.#redis = new Redis(redisUrl, { maxRetriesPerRequest: null });
    const last = lifecycle.stages.at(-1);
    if (last === undefined) throw new Error("a pipeline has a last stage");
    const onError = () => {};
    this.#redis.on("error", onError);
    this.#queues = new Queues({ connection: this.#redis, steps: lifecycle.steps, onError });
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

  /** Puts orders into the first queue. */
  async add(orderIds: readonly string[]): Promise<void> {
    const transition = lifecycle.due(CREATED);
    if (transition === undefined) throw new Error("a pipeline has a first stage");
    for (let start = 0; start < orderIds.length; start += PAGE)
      await this.#queues.enqueue(
        orderIds.slice(start, start + PAGE).map((orderId) => ({ orderId, transition })),
      );
  }

  /** Has workers take no orders in: those that came further go on. */
  async hold(): Promise<void> {
    await this.#first.pause();
  }

  /** Lets workers take orders in. */
  async release(): Promise<void> {
    await this.#first.resume();
  }

  /** Throws away what waits in the first queue. */
  async discard(): Promise<void> {
    await this.#first.drain();
  }

  /** Jobs that wait in the first queue. */
  async countWaiting(): Promise<number> {
    return this.#first.getWaitingCount();
  }

  /** Waits until so many jobs wait in the first queue: an API adds them after it has answered. */
  async untilWaiting(count: number, signal: AbortSignal): Promise<void> {
    const deadline = Date.now() + PATIENCE_MS;
    for (;;) {
      const waiting = await this.countWaiting();
      if (waiting >= count) return;
      if (Date.now() > deadline) throw new Failure(`${waiting} jobs wait, and not ${count}`);
      await delay(LOOK_EVERY_MS, undefined, { signal });
    }
  }

  /**
   * Waits until no job waits or runs. One that was put off by a failure comes later than that: whoever counts the orders
   * will find out. @throws when it is aborted, or the worker ends.
   */
  async untilEmpty(workers: readonly BenchProcess[], signal: AbortSignal): Promise<void> {
    while ((await this.countJobs()) > 0) {
      for (const worker of workers) worker.assertRunning();
      await delay(LOOK_EVERY_MS, undefined, { signal });
    }
  }

  /** All jobs of all queues that are not done. */
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

  /** Listens to the last queue, for {@link finished}. */
  async listen(): Promise<void> {
    await this.#events.waitUntilReady();
    void this.#events.run();
  }

  /** Resolves when the last job of an order is done, or was done since {@link listen}. @throws {Failure} */
  async finished(orderId: string, withinMs: number): Promise<void> {
    if (this.#finished.has(orderId)) return;
    await new Promise<void>((resolve, reject) => {
      const late = setTimeout(() => {
        this.#waiting.delete(orderId);
        reject(new Failure(`order ${orderId} was not done within ${withinMs / 1_000} s`));
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

/** UUIDs: a job's id begins with that of its order. */
const ID_LENGTH = 36;
