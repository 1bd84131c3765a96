import type { Sizes } from "./sizes.ts";
import type { TestBed } from "./test-bed.ts";

/** What a comparison needs. */
export interface Context {
  readonly testBed: TestBed;
  readonly sizes: Sizes;
  readonly signal: AbortSignal;
  /** Prints progress. */
  readonly note: (line: string) => void;
}

/**
 * Rotates the order in every repeat, so that no system always runs after the same one: MySQL's background
 * writes affect each in turn.
 */
export function rotated<T>(items: readonly T[], by: number): T[] {
  const start = items.length === 0 ? 0 : by % items.length;
  return [...items.slice(start), ...items.slice(0, start)];
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
