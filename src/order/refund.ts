import type { OrderLine } from "./order.ts";
import type { Refund, RefundLine } from "./payment.ts";

/*
 * What the pieces of an order are worth when they come back: price times pieces, and their share of the discounts and taxes
 * on the order. Shipping and fees are paid back by amount alone.
 */

/** The part of an order that says what its pieces are worth. */
export interface Priced {
  readonly lines: readonly Pick<OrderLine, "sku" | "quantity" | "unitPrice" | "stocked">[];
  readonly adjustments?:
    | readonly { readonly kind: string; readonly amount: number; readonly included?: boolean | undefined }[]
    | undefined;
}

/** A request for pieces that can't be met. */
export class TooManyPiecesError extends Error {
  override name = "TooManyPiecesError";
}

/** What a share of the order's sum may be of: taxes that are contained in the prices are paid back with them. */
const SHARED = new Set(["discount", "tax"]);

/**
 * These pieces with what they are worth, taken from the order's lines in their order, after those that came back before.
 *
 * @param earlier the order's refunds so far; failed ones don't count.
 * @throws {TooManyPiecesError} if the order has not so many left
 */
export function worthOf(
  order: Priced,
  wanted: readonly { readonly sku: string; readonly quantity: number }[],
  earlier: readonly Pick<Refund, "lines" | "state">[],
): readonly RefundLine[] {
  const back = order.lines.map(() => 0);
  for (const { lines, state } of earlier)
    if (state !== "FAILED")
      for (const { position, quantity } of lines ?? []) back[position] = (back[position] ?? 0) + quantity;
  const worths = worthOfLines(order);
  const taken: RefundLine[] = [];
  for (const { sku, quantity } of wanted) {
    let left = quantity;
    order.lines.forEach((line, position) => {
      const before = back[position] ?? 0;
      const pieces = line.sku === sku ? Math.min(left, line.quantity - before) : 0;
      if (pieces === 0) return;
      const worth = worths[position] ?? 0;
      taken.push({
        position,
        sku,
        quantity: pieces,
        worth: partOf(worth, before + pieces, line.quantity) - partOf(worth, before, line.quantity),
        ...(line.stocked === false && { stocked: false as const }),
      });
      back[position] = before + pieces;
      left -= pieces;
    });
    if (left > 0)
      throw new TooManyPiecesError(`only ${quantity - left} of ${quantity} ${sku} are left to refund`);
  }
  return taken;
}

/** What these lines of a refund are worth together. Minor units. */
export function sumOfWorth(lines: readonly RefundLine[]): number {
  return lines.reduce((sum, { worth = 0 }) => sum + worth, 0);
}

/**
 * Pieces go back into stock once, also if their refund has failed since.
 *
 * @throws {TooManyPiecesError} if some of these are there already
 */
export function mustBeOut(
  order: Priced,
  back: readonly RefundLine[],
  earlier: readonly Pick<Refund, "lines" | "state" | "restock">[],
): void {
  const restocked = earlier
    .filter(({ state, restock }) => restock === "done" || (restock === "due" && state !== "FAILED"))
    .flatMap(({ lines }) => lines ?? []);
  for (const { position, sku } of back) {
    const pieces = [...restocked, ...back]
      .filter((each) => each.position === position)
      .reduce((sum, { quantity }) => sum + quantity, 0);
    if (pieces > (order.lines[position]?.quantity ?? 0))
      throw new TooManyPiecesError(`pieces of ${sku} are back in stock already: refund them without restock`);
  }
}

/** What each line is worth, with its share of discounts and taxes. Minor units. */
export function worthOfLines({ lines, adjustments = [] }: Priced): number[] {
  const prices = lines.map(({ quantity, unitPrice }) => quantity * unitPrice);
  const shared = adjustments
    .filter(({ kind, included }) => SHARED.has(kind) && included !== true)
    .reduce((sum, { amount }) => sum + amount, 0);
  const shares = allocate(shared, prices);
  return prices.map((price, index) => Math.max(0, price + (shares[index] ?? 0)));
}

/**
 * Divides an amount by weights into whole units whose sum is the amount: the largest remainders get what is left over.
 *
 * @param amount may be negative. @param weights none negative; all 0 gives nothing to anybody.
 */
export function allocate(amount: number, weights: readonly number[]): number[] {
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  if (total === 0) return weights.map(() => 0);
  const size = BigInt(Math.abs(amount));
  const parts = weights.map((weight, index) => {
    const product = size * BigInt(weight);
    return { index, whole: Number(product / BigInt(total)), rest: product % BigInt(total) };
  });
  const over = Math.abs(amount) - parts.reduce((sum, { whole }) => sum + whole, 0);
  const lucky = new Set(
    parts
      .toSorted((a, b) => (a.rest === b.rest ? a.index - b.index : a.rest > b.rest ? -1 : 1))
      .slice(0, over)
      .map(({ index }) => index),
  );
  const sign = amount < 0 ? -1 : 1;
  // Adding 0 turns a -0 into 0.
  return parts.map(({ index, whole }) => sign * (whole + (lucky.has(index) ? 1 : 0)) + 0);
}

/** What so many of a line's pieces are worth, so that all of them are worth the line to the unit. */
function partOf(worth: number, pieces: number, quantity: number): number {
  return Number((BigInt(worth) * BigInt(pieces) * 2n + BigInt(quantity)) / (2n * BigInt(quantity)));
}
