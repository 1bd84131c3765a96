import type { Worker } from "bullmq";
import pLimit, { type LimitFunction } from "p-limit";

/** The longest that a job waits to end once its order is done. Milliseconds. */
const ENDS_WITHIN_MS = 50;

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
  /** Ends jobs whose orders are done, the longest waiting first. */
  readonly #ending = new Set<() => void>();
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

  /**
   * Counts a job while `work` runs, whether or not its order has a place here.
   *
   * BullMQ fetches the next job with the command that ends one if there is a place for it, and otherwise with a command
   * of its own, one after the other. So a job ends when the next place becomes free.
   */
  async withJob<T>(work: () => Promise<T>): Promise<T> {
    this.#jobs++;
    try {
      const result = await work();
      if (this.#unclaimed <= 0) await this.#untilFree();
      return result;
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
      const [end] = this.#unclaimed > 0 ? this.#ending : [];
      if (end) end();
      else this.#fit();
    }
  }

  /** Waits for a place to become free, but not for long. */
  #untilFree(): Promise<void> {
    return new Promise((resolve) => {
      const end = () => {
        clearTimeout(timer);
        this.#ending.delete(end);
        resolve();
      };
      const timer = setTimeout(end, ENDS_WITHIN_MS);
      this.#ending.add(end);
    });
  }

  get #free(): number {
    const { activeCount, pendingCount, concurrency } = this.#limit;
    return Math.max(0, concurrency - activeCount - pendingCount);
  }

  /** Free places for which BullMQ is not fetching a job yet. */
  get #unclaimed(): number {
    const fetching = (loopOf(this.#worker)?.numTotal() ?? this.#jobs) - this.#jobs;
    return this.#free - fetching;
  }

  /** Sets BullMQ's concurrency. A job whose order has gone on to another step needs no place. */
  #fit(): void {
    const fitting = Math.max(1, this.#jobs + this.#free);
    const isMore = fitting > this.#worker.concurrency;
    this.#worker.concurrency = fitting;
    // BullMQ reads it when a job ends; its own resume() wakes the loop the same way.
    if (isMore) loopOf(this.#worker)?.add(Promise.resolve());
  }
}

/** The jobs and fetches of a worker's main loop, which waits for one of them to end. */
interface MainLoop {
  numTotal(): number;
  add(work: Promise<void>): void;
}

/** Undefined while the worker does not run. */
function loopOf(worker: object): MainLoop | undefined {
  const loop: unknown = Reflect.get(worker, "mainLoopQueue");
  return isLoop(loop) ? loop : undefined;
}

function isLoop(loop: unknown): loop is MainLoop {
  return typeof loop === "object" && loop !== null && "numTotal" in loop && "add" in loop;
}
