import type { Revision } from "./revision.ts";
import type { Sizes } from "./sizes.ts";
import type { TestBed } from "./test-bed.ts";

/** What a comparison needs. */
export interface Context {
  readonly testBed: TestBed;
  /** The version to compare with. */
  readonly before: Revision | undefined;
  readonly sizes: Sizes;
  readonly signal: AbortSignal;
  /** Prints progress. */
  readonly note: (line: string) => void;
  /** Closes at the end of the comparison what it opened. */
  readonly closers: Closers;
}

/**
 * Measures every item once a round, for `sizes.repeats` rounds. Every other round goes backwards, so that none always
 * runs after the same one, whose writes MySQL and the disk may still be busy with.
 *
 * @param take measures one item; the rounds count from 1
 * @returns each item's measurements, in the order of the rounds
 * @throws when aborted
 */
export async function inRounds<Item, Taken>(
  { sizes, signal }: Pick<Context, "sizes" | "signal">,
  items: readonly Item[],
  take: (item: Item, round: number) => Promise<Taken>,
): Promise<{ readonly item: Item; readonly taken: readonly Taken[] }[]> {
  const all = items.map((item) => ({ item, taken: [] as Taken[] }));
  for (let round = 1; round <= sizes.repeats; round++) {
    for (const { item, taken } of round % 2 === 1 ? all : all.toReversed()) {
      signal.throwIfAborted();
      taken.push(await take(item, round));
    }
  }
  return all;
}

/** Closes what was opened, in reverse order. */
export class Closers {
  readonly #closers: (() => Promise<void>)[] = [];

  add<T>(opened: T, close: (opened: T) => Promise<void>): T {
    this.#closers.push(() => close(opened));
    return opened;
  }

  async close(): Promise<void> {
    for (const close of this.#closers.splice(0).toReversed()) await close();
  }
}

/** Does the work, and then closes what it opened. */
export async function closing<T>(work: (closers: Closers) => Promise<T>): Promise<T> {
  const closers = new Closers();
  try {
    return await work(closers);
  } finally {
    await closers.close();
  }
}
