import { randomNumbers, type Random } from "../shared/random.ts";
import { LIMITS } from "../../src/order/limits.ts";
import type { OrderRequestBody } from "../../src/api/schemas.ts";

const SKUS = 1_000;
/** One SKU makes up a twentieth of all lines, */
const HOT_SHARE = 0.05;
/** and a few more share another twentieth. */
const WARM = 4;
const WARM_SHARE = 0.05;
const MAX_LINES = 8;
const MAX_QUANTITY = 3;
const CUSTOMERS = 1_000;

const STREETS = ["Gartenstrasse", "Rue de la Paix", "Keizersgracht", "Calle Mayor", "High Street"] as const;

/** The initial stock: plenty of everything. */
export const GOODS: readonly { readonly sku: string; readonly onHand: number }[] = Array.from(
  { length: SKUS },
  (_, index) => ({ sku: skuOf(index), onHand: LIMITS.onHand }),
);

/**
 * Generates realistic orders; the same seed gives the same orders. 1 to 8 lines, an address, a card, a few
 * popular products.
 */
export function makeOrders(count: number, seed: number): OrderRequestBody[] {
  const random = randomNumbers(seed);
  return Array.from({ length: count }, (_, index) => ({
    customerId: `cust-${String(1 + random.below(CUSTOMERS)).padStart(4, "0")}`,
    currency: "EUR",
    reference: `bench-${seed}-${index + 1}`,
    paymentToken: "tok_approved",
    shipTo: {
      name: `Customer ${1 + random.below(CUSTOMERS)}`,
      line1: `${random.pick(STREETS)} ${1 + random.below(200)}`,
      city: "Springfield",
      postalCode: String(10_000 + random.below(89_999)),
      country: "DE",
    },
    lines: linesOf(random),
  }));
}

/** Each SKU appears on at most one line of an order. */
function linesOf(random: Random): OrderRequestBody["lines"] {
  const skus = new Set<string>();
  const count = 1 + random.below(MAX_LINES);
  while (skus.size < count) skus.add(anySku(random));
  return [...skus].map((sku) => ({
    sku,
    quantity: 1 + random.below(MAX_QUANTITY),
    unitPrice: 100 + random.below(9_900),
  }));
}

function anySku(random: Random): string {
  const drawn = random.below(10_000) / 10_000;
  if (drawn < HOT_SHARE) return skuOf(0);
  if (drawn < HOT_SHARE + WARM_SHARE) return skuOf(1 + random.below(WARM));
  return skuOf(1 + WARM + random.below(SKUS - 1 - WARM));
}

function skuOf(index: number): string {
  return `SKU-${String(index + 1).padStart(4, "0")}`;
}
