import type { Sizes } from "./sizes.ts";
import type { Stand } from "./stand.ts";

/** What a comparison works with. */
export interface Scene {
  readonly stand: Stand;
  readonly sizes: Sizes;
  readonly signal: AbortSignal;
  /** Says what goes on. */
  readonly note: (line: string) => void;
}

/**
 * Another order for every repeat, so that nobody always comes after the same one: what MySQL still writes in the
 * background hits each of them in turn.
 */
export function rotated<T>(items: readonly T[], by: number): T[] {
  const start = items.length === 0 ? 0 : by % items.length;
  return [...items.slice(start), ...items.slice(0, start)];
}

/** Everything that was opened, to be closed again, the last one first. */
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
