import type { Random } from "../shared/random.ts";
import type { OrderRequestBody } from "../../src/api/schemas.ts";
import { between, chance, stream } from "./random.ts";

/** An order, and how its customer behaves. */
export interface ChaosOrder {
  /** The order's reference, and its Idempotency-Key if it has one. */
  readonly key: string;
  readonly request: OrderRequestBody;
  /** Milliseconds after acceptance at which the customer cancels. */
  readonly cancelAfter: number | undefined;
  /** The customer clicks twice: the request is sent twice at once. */
  readonly isTwice: boolean;
  /** The customer sends no Idempotency-Key, yet repeats the request. */
  readonly isKeyless?: boolean;
}

/** A SKU and its initial quantity on hand. */
export interface Goods {
  readonly sku: string;
  readonly onHand: number;
}

const SKUS = 200;
/** This many SKUs make up a third of all lines. */
const HOT = 5;
const HOT_SHARE = 1 / 3;
/** This many SKUs sell out. */
const SCARCE = 10;
const MAX_LINES = 8;
const MAX_QUANTITY = 3;

const DECLINED_SHARE = 0.04;
const STUMBLING_SHARE = 0.04;
const FREE_SHARE = 0.03;
const CANCELLED_SHARE = 0.06;
const TWICE_SHARE = 0.03;
const LATEST_CANCELLATION_MS = 4_000;

/** The stock for this many orders: plenty of most SKUs, and of some about half of the demand. */
export function makeGoods(orders: number): Goods[] {
  const plenty = orders * MAX_LINES * MAX_QUANTITY;
  const lines = (orders * (1 + MAX_LINES)) / 2;
  const demand = ((lines * (1 - HOT_SHARE)) / (SKUS - HOT)) * ((1 + MAX_QUANTITY) / 2);
  return Array.from({ length: SKUS }, (_, index) => ({
    sku: `SKU-${String(index + 1).padStart(3, "0")}`,
    onHand: index >= SKUS - SCARCE ? Math.ceil(demand / 2) : plenty,
  }));
}

/** Generates orders; the same seed gives the same orders. */
export function makeOrders({
  count,
  seed,
  goods,
}: {
  readonly count: number;
  readonly seed: number;
  readonly goods: readonly Goods[];
}): ChaosOrder[] {
  const random = stream(seed, "orders");
  const skus = goods.map(({ sku }) => sku);
  return Array.from({ length: count }, (_, index) => {
    const isFree = chance(random, FREE_SHARE);
    const key = `chaos-${seed}-${index + 1}`;
    return {
      key,
      request: {
        customerId: `cust-${1 + random.below(1_000)}`,
        currency: "EUR",
        reference: key,
        paymentToken: tokenOf(random),
        lines: linesOf(random, skus, isFree),
      },
      cancelAfter: chance(random, CANCELLED_SHARE) ? random.below(LATEST_CANCELLATION_MS) : undefined,
      isTwice: chance(random, TWICE_SHARE),
    };
  });
}

/** Generates orders for one unit of the same product, each by its own customer. */
export function makeRush({
  count,
  seed,
  sku,
  isKeyless = false,
}: {
  readonly count: number;
  readonly seed: number;
  readonly sku: string;
  readonly isKeyless?: boolean;
}): ChaosOrder[] {
  return Array.from({ length: count }, (_, index) => {
    const key = `chaos-${seed}-${index + 1}`;
    return {
      key,
      request: {
        customerId: `cust-${index + 1}`,
        currency: "EUR",
        reference: key,
        paymentToken: "tok_approved",
        lines: [{ sku, quantity: 1, unitPrice: 4_900 }],
      },
      cancelAfter: undefined,
      isTwice: false,
      isKeyless,
    };
  });
}

function tokenOf(random: Random): string {
  const drawn = random.below(1_000) / 1_000;
  if (drawn < DECLINED_SHARE) return "tok_declined";
  return drawn < DECLINED_SHARE + STUMBLING_SHARE ? "tok_stumbles_2" : "tok_approved";
}

function linesOf(random: Random, skus: readonly string[], isFree: boolean): OrderRequestBody["lines"] {
  const chosen = new Set<string>();
  const count = between(random, [1, MAX_LINES]);
  while (chosen.size < count) {
    const from = chance(random, HOT_SHARE) ? skus.slice(0, HOT) : skus.slice(HOT);
    chosen.add(anyOf(random, from));
  }
  return [...chosen].map((sku) => ({
    sku,
    quantity: between(random, [1, MAX_QUANTITY]),
    unitPrice: isFree ? 0 : between(random, [100, 9_900]),
  }));
}

function anyOf(random: Random, [first = "", ...others]: readonly string[]): string {
  return random.pick([first, ...others]);
}
