import { inRounds, type Context } from "../context.ts";
import { Failure } from "../../shared/failure.ts";
import { instant, number } from "../../chaos/sql.ts";
import type { ResultOf } from "../report.ts";
import { Shop } from "../shop.ts";
import { spreadOf } from "../statistics.ts";

/** Latency of payment provider and carrier: with few concurrent orders, CPU is not the limit. */
const PROVIDER_MS = 100;
/** Only orders in the middle are timed, since at the start and the end some workers are idle. */
const MIDDLE = [0.1, 0.9] as const;

/** Whether throughput grows with the workers while the providers are the bottleneck. */
export async function scaling(context: Context): Promise<ResultOf<"scaling">> {
  const { workers: counts, warmUpOrders, concurrency, ms } = context.sizes.scaling;
  /** The throughput of a stage that calls a provider once per order. */
  const idealOf = (workers: number) => (workers * concurrency * 1_000) / PROVIDER_MS;
  const shops = await Promise.all(counts.map((workers) => openShop(context, workers)));
  // Cold code takes several times the CPU, and here all workers share the cores.
  for (const { workers, shop } of shops) await drain(context, shop, workers * warmUpOrders);
  const measured = await inRounds(context, shops, async ({ workers, shop }, round) => {
    const rate = await drain(context, shop, Math.round((idealOf(workers) * ms) / 1_000));
    context.note(`scaling ${round}: ${workers} workers: ${rate.toFixed(0)}/s of ${idealOf(workers)}/s`);
    return rate;
  });
  return {
    providerMs: PROVIDER_MS,
    concurrency,
    rows: measured.map(({ item: { workers }, taken }) => ({
      workers,
      ordersPerSecond: spreadOf(taken),
      ideal: idealOf(workers),
    })),
  };
}

async function openShop(context: Context, workers: number) {
  const env = { PROVIDER_LATENCY_MS: String(PROVIDER_MS) };
  const shop = await Shop.open(context, { name: `scaling-${workers}`, env });
  await shop.startWorkers(workers, ["--concurrency", String(context.sizes.scaling.concurrency)]);
  return { workers, shop };
}

/** @returns orders delivered per second, without the first and last of them */
async function drain({ signal }: Context, shop: Shop, orders: number): Promise<number> {
  signal.throwIfAborted();
  const last = await lastEvent(shop);
  await shop.queues.hold();
  await shop.placeOrders(orders);
  await shop.queues.release();
  await shop.untilDelivered(signal);
  return rateSince(shop, last, orders);
}

async function lastEvent({ sql }: Shop): Promise<number> {
  const [row] = await sql.rows("SELECT COALESCE(MAX(id), 0) AS last FROM order_events");
  return number(row?.["last"]);
}

/** Orders delivered per second after an event, without the first and last of them. */
async function rateSince({ name, sql }: Shop, event: number, orders: number): Promise<number> {
  const rows = await sql.rows(
    "SELECT at FROM order_events WHERE id > ? AND to_status = 'DELIVERED' AND type = 'status' ORDER BY at",
    [event],
  );
  if (rows.length !== orders) throw new Failure(`${name}: ${rows.length} of ${orders} orders were delivered`);
  const [from, to] = MIDDLE.map((part) => Math.floor(part * (rows.length - 1)));
  if (from === undefined || to === undefined) throw new Error("a middle has two ends");
  const took = instant(rows[to]?.["at"]) - instant(rows[from]?.["at"]);
  return ((to - from) / Math.max(1, took)) * 1_000;
}
