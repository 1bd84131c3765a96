import type { EventRow, Evidence } from "../evidence.ts";
import { steadyLoad } from "../load.ts";
import type { ChaosOptions } from "../options.ts";
import { makeRush } from "../orders.ts";
import type { Script } from "../run.ts";
import { numbered } from "../schedule.ts";
import { number, text } from "../sql.ts";
import { grouped } from "../../shared/text.ts";

const SKU = "FLUSHED";
/** Delivery takes long enough that no order ends before the flush. */
const TRANSIT_MARGIN_MS = 10_000;

/** Kills all workers and flushes Redis, with all orders in flight. */
export function flush(options: ChaosOptions): Script {
  const orders = makeRush({ count: options.orders, seed: options.seed, sku: SKU });
  const transitMs = options.lengthMs + TRANSIT_MARGIN_MS;
  return {
    goods: [{ sku: SKU, onHand: options.orders }],
    transitMs,
    async play({ deployment, ledger, customers, saboteur, signal, note }) {
      await steadyLoad(customers, orders, options.lengthMs, signal);
      await customers.idle();
      await Promise.all(deployment.workers.map((worker) => worker.hold("SIGKILL")));
      const rows = await deployment.sql.rows("SELECT status, COUNT(*) AS orders FROM orders GROUP BY status");
      const standing = rows
        .map((row) => `${grouped(number(row["orders"]))} ${text(row["status"])}`)
        .join(", ");
      note(`all workers are killed, and Redis is flushed: ${standing}`);
      const now = { number: 1, at: 0, lasts: 0 };
      await saboteur.inject({ ...now, name: "redis-flushed", targets: ["redis"] });
      const restartedAt = Date.now();
      // They are already held; this lets them restart.
      await saboteur.inject({
        ...now,
        number: 2,
        name: "workers-killed",
        targets: numbered("worker", options.workers),
      });
      const inFlight = rows.filter((row) => !["DELIVERED", "CANCELLED"].includes(text(row["status"])));
      return ({ events, books }: Evidence) => [
        ["accepted", grouped(ledger.accepted.size)],
        ["in flight at the flush", grouped(inFlight.reduce((sum, row) => sum + number(row["orders"]), 0))],
        ["orders by status", standing],
        ["charges at the end", grouped(books.charges.length)],
        [
          "from the workers' restart until every order moved on",
          seconds(firstMoves(events, restartedAt) - restartedAt),
        ],
        ["from the workers' restart until every order ended", seconds(last(events) - restartedAt)],
        ["delivery time", seconds(transitMs)],
      ];
    },
  };
}

/** When the last order made its first transition after this time. */
function firstMoves(events: readonly EventRow[], since: number): number {
  const first = new Map<string, number>();
  for (const { orderId, at } of events) if (at > since && !first.has(orderId)) first.set(orderId, at);
  return Math.max(since, ...first.values());
}

function last(events: readonly EventRow[]): number {
  return events.reduce((latest, { at }) => Math.max(latest, at), 0);
}

function seconds(milliseconds: number): string {
  return `${(milliseconds / 1_000).toFixed(1)} s`;
}
