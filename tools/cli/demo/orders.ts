import type { StockItem } from "../../launcher/demo-stock.ts";
import type { OrderRequestBody } from "../../../src/api/schemas.ts";
import { randomNumbers, type Random } from "../../shared/random.ts";

/** The kinds of generated orders, and the share of each. */
const KINDS = [
  /** Gets delivered. */
  { kind: "fine", share: 0.8, paymentTokens: ["tok_approved"] },
  /** Orders more than is in stock. */
  { kind: "sold out", share: 0.08, paymentTokens: ["tok_approved"] },
  /** Its card is declined. */
  { kind: "declined", share: 0.06, paymentTokens: ["tok_declined"] },
  /** The payment provider fails a few times first. */
  {
    kind: "stumbling",
    share: 0.06,
    paymentTokens: ["tok_stumbles_1", "tok_stumbles_2", "tok_stumbles_3"],
  },
] as const;

export type Kind = (typeof KINDS)[number]["kind"];

export interface DemoOrder {
  readonly kind: Kind;
  readonly request: OrderRequestBody & { readonly reference: string };
}

export interface DemoPlan {
  readonly count: number;
  /** The same seed makes the same orders. */
  readonly seed: number;
  /** What can be ordered. */
  readonly goods: readonly StockItem[];
  /** A line that orders more than is in stock. */
  readonly soldOut: { readonly sku: string; readonly quantity: number };
  /** Prefix of the orders' references, which are also their idempotency keys. */
  readonly run: string;
}

/** Generates orders in random order: of each kind its share, and at least one if there are enough orders. */
export function makeOrders({ count, seed, goods, soldOut, run }: DemoPlan): DemoOrder[] {
  const random = randomNumbers(seed);
  const digits = Math.max(3, String(count).length);
  return shuffled(kindsOf(count), random).map(({ kind, paymentTokens }, index) => ({
    kind,
    request: {
      customerId: `cust-${1 + random.below(40)}`,
      currency: "EUR",
      reference: `${run}-${String(index + 1).padStart(digits, "0")}`,
      paymentToken: random.pick(paymentTokens),
      lines:
        kind === "sold out"
          ? [{ ...soldOut, unitPrice: priceOf(soldOut.sku) }]
          : shuffled(goods, random)
              .slice(0, 1 + random.below(3))
              .map(({ sku }) => ({ sku, quantity: 1 + random.below(3), unitPrice: priceOf(sku) })),
    },
  }));
}

function kindsOf(count: number): (typeof KINDS)[number][] {
  const [fine, ...special] = KINDS;
  const least = count > special.length ? 1 : 0;
  const kinds = special.flatMap((kind) => repeated(kind, Math.max(least, Math.round(count * kind.share))));
  return [...kinds, ...repeated(fine, count - kinds.length)];
}

function repeated<T>(item: T, times: number): T[] {
  return Array.from({ length: Math.max(0, times) }, () => item);
}

/** A fixed price for each SKU, between 2.50 and 52.40, derived from its letters. */
function priceOf(sku: string): number {
  let sum = 0;
  for (const letter of sku) sum = (sum * 31 + (letter.codePointAt(0) ?? 0)) % 500;
  return 250 + sum * 10;
}

function shuffled<T>(items: readonly T[], random: Random): T[] {
  return items
    .map((item) => ({ item, place: random.below(2 ** 32) }))
    .toSorted((a, b) => a.place - b.place)
    .map(({ item }) => item);
}
