import { setTimeout as delay } from "node:timers/promises";
import { Redis } from "ioredis";
import { POLL_EVERY_MS } from "./order-rows.ts";
import { Failure } from "../shared/failure.ts";
import { Queues } from "../../queues/queues.ts";
import { CREATED, lifecycle } from "../../src/order/lifecycle.ts";

const PATIENCE_MS = 30_000;
/** Jobs added at once. */
const PAGE = 1_000;

/** The pipeline's queues, used from outside, whether the service or bare BullMQ processes them. */
export class PipelineQueues {
  readonly redis: Redis;
  readonly #queues: Queues;

  constructor(redisUrl: string) {
    this.redis = new Redis(redisUrl, { maxRetriesPerRequest: null });
    const onError = () => {};
    this.redis.on("error", onError);
    this.#queues = new Queues({ connection: this.redis, lifecycle, onError });
  }

  /** Adds orders to the first queue. */
  async add(orderIds: readonly string[]): Promise<void> {
    const transition = firstTransition();
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

  /** Counts the unfinished jobs of all queues. */
  async countJobs(): Promise<number> {
    const pipeline = this.redis.pipeline();
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

  /** Bytes that Redis uses for data. */
  async memory(): Promise<number> {
    const info = await this.redis.info("memory");
    return Number(/^used_memory_dataset:(\d+)/m.exec(info)?.[1] ?? Number.NaN);
  }

  async close(): Promise<void> {
    await this.#queues.close();
    this.redis.disconnect();
  }

  get #first() {
    return this.#queues.of(firstTransition().step);
  }
}

function firstTransition() {
  const first = lifecycle.due(CREATED);
  if (first === undefined) throw new Error("a pipeline has a first stage");
  return first;
}
