import { SUSPECTS_SHARE } from "./ports.ts";

/** First estimate of how long a place is held: the time a healthy service takes. Milliseconds. */
const FIRST_GUESS_MS = 100;
/** Weight of the latest sample in the moving average. */
const WEIGHT = 0.2;
/** The longest wait for a turn. A longer one is cut to between half of this and this. */
const LONGEST_WAIT_MS = 60_000;
const SHORTEST_WAIT_MS = 20;

/** The suspects' share of a step's places, at least one. */
export function shareOf(places: number): number {
  return Math.max(1, Math.floor(places * SUSPECTS_SHARE));
}

/**
 * The places that suspected orders may use in one step of one worker: a quarter, and at least one. Orders that cannot
 * be served may each hold a place until they time out; this leaves most places to the others.
 *
 * An order that finds no place gets a turn. Turns are spaced by how often places become free, so that thousands of
 * waiting orders neither arrive at once nor wait long after the trouble is over. A turn is an estimate, not a
 * reservation: an order that still finds no place gets another. Under a rate limit the job also waits for a turn in its
 * queue.
 */
export class SuspectPlaces {
  /** This worker's part of a limit over all workers, if that is lower; may be 0. */
  quota = Infinity;
  readonly #concurrency: () => number;
  readonly #random: () => number;
  readonly #now: () => number;
  /** When each order took its place. */
  readonly #taken = new Map<string, number>();
  #averageMs = FIRST_GUESS_MS;
  #lastTurn = 0;

  /** @param concurrency how many orders this worker may have in the step right now. */
  constructor(
    concurrency: () => number,
    {
      random = Math.random,
      now = () => performance.now(),
    }: { random?: () => number; now?: () => number } = {},
  ) {
    this.#concurrency = concurrency;
    this.#random = random;
    this.#now = now;
  }

  /** Number of places. */
  get places(): number {
    return Math.min(shareOf(this.#concurrency()), this.quota);
  }

  /** Places in use. */
  get taken(): number {
    return this.#taken.size;
  }

  /** Takes a place for the order, unless it has one. @returns false if all are in use. */
  take(orderId: string): boolean {
    if (this.#taken.has(orderId)) return true;
    if (this.#taken.size >= this.places) return false;
    this.#taken.set(orderId, this.#now());
    return true;
  }

  /** Frees the order's place, if it has one. */
  leave(orderId: string): void {
    const since = this.#taken.get(orderId);
    if (since === undefined) return;
    this.#taken.delete(orderId);
    this.#averageMs += WEIGHT * (this.#now() - since - this.#averageMs);
  }

  /** Assigns a turn to an order that found no place. @returns milliseconds until then. */
  nextTurn(): number {
    const now = this.#now();
    const turn = Math.max(now, this.#lastTurn) + this.#expectedMs(now) / Math.max(1, this.places);
    this.#lastTurn = Math.min(turn, now + LONGEST_WAIT_MS);
    const waitMs = turn > now + LONGEST_WAIT_MS ? LONGEST_WAIT_MS * (0.5 + this.#random() / 2) : turn - now;
    return Math.max(SHORTEST_WAIT_MS, waitMs);
  }

  /** Expected time that a place is held: the average, or longer if the oldest already is. */
  #expectedMs(now: number): number {
    const [oldest = now] = this.#taken.values();
    return Math.max(this.#averageMs, now - oldest);
  }
}
