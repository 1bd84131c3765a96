import { randomNumbers, type Random } from "../shared/random.ts";

/** An independent stream of numbers for each use of a seed: more orders must not change the faults. */
export function stream(seed: number, use: string): Random {
  let mixed = seed >>> 0;
  for (const letter of use) mixed = Math.imul(mixed ^ (letter.codePointAt(0) ?? 0), 0x01000193) >>> 0;
  return randomNumbers(mixed);
}

/** A whole number from `least` to `most`, inclusive. */
export function between(random: Random, [least, most]: readonly [number, number]): number {
  return least + random.below(most - least + 1);
}

/** Returns true with this probability. */
export function chance(random: Random, probability: number): boolean {
  return random.below(1_000_000) < probability * 1_000_000;
}

/** Returns the items in random order. */
export function shuffled<T>(random: Random, items: readonly T[]): T[] {
  const left = [...items];
  const drawn: T[] = [];
  while (left.length > 0) drawn.push(...left.splice(random.below(left.length), 1));
  return drawn;
}
