import { setTimeout as delay } from "node:timers/promises";
import { isWithdrawn } from "../audit.ts";
import type { Evidence } from "../evidence.ts";
import type { ChaosOptions } from "../options.ts";
import type { Deployment } from "../deployment.ts";
import { makeRush } from "../orders.ts";
import type { Script } from "../run.ts";
import { number } from "../sql.ts";
import { grouped } from "../../shared/text.ts";

const SKU = "FROZEN";
/** Customers who place orders one after another, without Idempotency-Keys. */
const CUSTOMERS = 60;
const FREEZE_MS = 4_000;
const FREEZES = 3;
/** Longer than it takes the sweeper to look for a missing job. */
const ENDED_WITHIN_MS = 90_000;
const LOOK_EVERY_MS = 500;

/** Freezes MySQL several times, while customers without keys repeat every request that gets a 503. */
export function frozenMysql(options: ChaosOptions): Script {
  const orders = makeRush({ count: options.orders, seed: options.seed, sku: SKU, isKeyless: true });
  const shares = Array.from({ length: CUSTOMERS }, (_, customer) =>
    orders.filter((_order, index) => index % CUSTOMERS === customer),
  );
  return {
    goods: [{ sku: SKU, onHand: 10 * options.orders }],
    async play({ deployment, ledger, customers, saboteur, signal }) {
      const freezes = Array.from({ length: FREEZES }, (_, index) => ({
        number: index + 1,
        name: "mysql-frozen" as const,
        targets: ["mysql"],
        at: ((index + 0.5) * options.lengthMs) / FREEZES,
        lasts: FREEZE_MS,
      }));
      const pauseMs = options.lengthMs / Math.max(1, options.orders / CUSTOMERS);
      await Promise.all([
        saboteur.injectAll(freezes),
        ...shares.map((share) => customers.placeInTurn(share, pauseMs)),
      ]);
      signal.throwIfAborted();
      // Includes orders that no customer knows of: the sweeper finds those that were not queued.
      await untilAllEnded(deployment, signal);
      const repeats = ledger.attempts.filter(({ isRepeat }) => isRepeat).length;
      return (evidence: Evidence) => [
        ["customers without keys", grouped(CUSTOMERS)],
        ["orders they placed", grouped(orders.length)],
        ["requests repeated after a 503", grouped(repeats)],
        ["orders in MySQL", grouped(evidence.orders.length)],
        ["  of them DELIVERED", grouped(countDelivered(evidence))],
        ["  of them withdrawn", grouped(evidence.orders.filter(isWithdrawn).length)],
        ["charges", grouped(evidence.books.charges.length)],
        ["refunds", grouped(evidence.books.refunds.length)],
        ["orders charged more than once", grouped(countChargedTwice(evidence))],
      ];
    },
  };
}

async function untilAllEnded({ sql }: Deployment, signal: AbortSignal): Promise<void> {
  const deadline = Date.now() + ENDED_WITHIN_MS;
  while (Date.now() < deadline) {
    const [row] = await sql.rows(
      "SELECT COUNT(*) AS open FROM orders WHERE status NOT IN ('DELIVERED', 'CANCELLED')",
    );
    if (number(row?.["open"]) === 0) return;
    await delay(LOOK_EVERY_MS, undefined, { signal });
  }
}

function countDelivered({ orders }: Evidence): number {
  return orders.filter(({ status }) => status === "DELIVERED").length;
}

/** Orders that were paid for more than once after all refunds. */
function countChargedTwice({ orders, books }: Evidence): number {
  const keyOf = new Map(orders.map(({ id, idempotencyKey }) => [id, idempotencyKey]));
  const refunded = new Set(books.refunds.map(({ orderId }) => orderId));
  const charges = new Map<string, number>();
  for (const { orderId } of books.charges) {
    const key = keyOf.get(orderId);
    if (refunded.has(orderId) || typeof key !== "string") continue;
    charges.set(key, (charges.get(key) ?? 0) + 1);
  }
  return [...charges.values()].filter((count) => count > 1).length;
}
