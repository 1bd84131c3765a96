import { SUSPECTS_SHARE } from "./ports.ts";

/** How long one is taken to hold its place before any has: as a service takes that is well. Milliseconds. */
const FIRST_GUESS_MS = 100;
/** The weight of the latest one in the average. */
const WEIGHT = 0.2;
/** The longest that one waits for its turn; who would wait longer comes within the second half of it, and asks again. */
const LONGEST_WAIT_MS = 60_000;
const SHORTEST_WAIT_MS = 20;

/** So many of a step's places, and one at least. */
export function shareOf(places: number): number {
  return Math.max(1, Math.floor(places * SUSPECTS_SHARE));
}

/**
 * The places that suspected orders may have in one step of one worker: a quarter, and one at least. So orders that nobody
 * can serve, each of which may hold its place until its time is up, leave most places to the others, however many they
 * are.
 *
 * One that finds no place is given a turn. Turns lie as far apart as the places become free on average, so that thousands
 * who wait neither come all at once, nor wait for long when their trouble is over. A turn is a guess and no promise: who
 * finds no place then gets another. Behind a rate limit the order's job also waits for its turn in the queue.
 */
export class SuspectPlaces {
  /** Places here, where a limit over all workers allows fewer than this worker's share; none is possible. */
  quota = Infinity;
  readonly #concurrency: () => number;
  readonly #random: () => number;
  readonly #now: () => number;
  /** By order, since when. */
  readonly #taken = new Map<string, number>();
  #averageMs = FIRST_GUESS_MS;
  #lastTurn = 0;

  /** @param concurrency how many orders may be in the step at this moment, here. */
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

  /** How many there are. */
  get places(): number {
    return Math.min(shareOf(this.#concurrency()), this.quota);
  }

  /** How many are taken. */
  get taken(): number {
    return this.#taken.size;
  }

  /** Takes a place for an order, unless it has one. @returns false when there is none. */
  take(orderId: string): boolean {
    if (this.#taken.has(orderId)) return true;
    if (this.#taken.size >= this.places) return false;
    this.#taken.set(orderId, this.#now());
    return true;
  }

  /** Gives an order's place back, if it has one. */
  leave(orderId: string): void {
    const since = this.#taken.get(orderId);
    if (since === undefined) return;
    this.#taken.delete(orderId);
    this.#averageMs += WEIGHT * (this.#now() - since - this.#averageMs);
  }

  /** Gives a turn to an order that found no place. @returns milliseconds until then. */
  nextTurn(): number {
    const now = this.#now();
    const turn = Math.max(now, this.#lastTurn) + this.#expectedMs(now) / Math.max(1, this.places);
    this.#lastTurn = Math.min(turn, now + LONGEST_WAIT_MS);
    const waitMs = turn > now + LONGEST_WAIT_MS ? LONGEST_WAIT_MS * (0.5 + this.#random() / 2) : turn - now;
    return Math.max(SHORTEST_WAIT_MS, waitMs);
  }

  /** How long a place is held: as long as others were, or as one has been already. */
  #expectedMs(now: number): number {
    const [oldest = now] = this.#taken.values();
    return Math.max(this.#averageMs, now - oldest);
  }
}
