import type { Worker } from "bullmq";
import pLimit, { type LimitFunction } from "p-limit";

/**
 * A step's places in one worker process. Jobs of the step's queue and guests, orders that come straight from the step
 * before, share them; BullMQ fetches as many jobs as are free.
 */
export class Places {
  readonly #limit: LimitFunction;
  readonly #worker: Pick<Worker, "concurrency">;
  /** Unfinished jobs of the queue, including those whose orders have gone on to other steps. */
  #jobs = 0;
  #guests = 0;
  #progressAt = performance.now();

  /** @param worker must have that concurrency. */
  constructor(worker: Pick<Worker, "concurrency">) {
    this.#limit = pLimit(worker.concurrency);
    this.#worker = worker;
  }

  get concurrency(): number {
    return this.#limit.concurrency;
  }

  set concurrency(concurrency: number) {
    this.#limit.concurrency = concurrency;
    this.#fit();
  }

  /** Places in use. */
  get taken(): number {
    return this.#limit.activeCount;
  }

  /** Guests, and orders that may be about to come. */
  get guests(): number {
    return this.#guests;
  }

  /** Whether there is a place for a guest. The last one is for the queue's next job, which BullMQ may be fetching. */
  get hasPlaceForGuest(): boolean {
    return this.#free > 1;
  }

  /** When a place was last taken or freed, initially the creation time (`performance.now()`). */
  get progressAt(): number {
    return this.#progressAt;
  }

  /** Shows progress of an order that waits on purpose. */
  noteProgress(): void {
    this.#progressAt = performance.now();
  }

  /** Counts a guest from before it may come until it has left. @returns what to call when it has, or does not come. */
  expectGuest(): () => void {
    this.#guests++;
    return () => {
      this.#guests--;
      this.#fit();
    };
  }

  /** Counts a job while `work` runs, whether or not its order has a place here. */
  async withJob<T>(work: () => Promise<T>): Promise<T> {
    this.#jobs++;
    try {
      return await work();
    } finally {
      this.#jobs--;
      this.#fit();
    }
  }

  /** Runs `work` in a place, as soon as one is free. */
  async run<T>(work: () => Promise<T>): Promise<T> {
    const placed = this.#limit(async () => {
      this.noteProgress();
      try {
        return await work();
      } finally {
        this.noteProgress();
      }
    });
    this.#fit();
    try {
      return await placed;
    } finally {
      this.#fit();
    }
  }

  get #free(): number {
    const { activeCount, pendingCount, concurrency } = this.#limit;
    return Math.max(0, concurrency - activeCount - pendingCount);
  }

  /** Sets BullMQ's concurrency. A job whose order has gone on to another step needs no place. */
  #fit(): void {
    const fitting = Math.max(1, this.#jobs + this.#free);
    const isMore = fitting > this.#worker.concurrency;
    this.#worker.concurrency = fitting;
    // BullMQ reads it when a job ends; its own resume() wakes the loop the same way.
    if (isMore) wake(this.#worker);
  }
}

/** Makes a worker's main loop read its concurrency again. */
function wake(worker: Pick<Worker, "concurrency">): void {
  const loop: unknown = Reflect.get(worker, "mainLoopQueue");
  if (typeof loop === "object" && loop !== null && "add" in loop && typeof loop.add === "function")
    loop.add(Promise.resolve());
}
