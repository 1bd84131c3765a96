import { Failure } from "../../shared/failure.ts";
import { instant, number } from "../../chaos/sql.ts";
import type { BenchReport } from "../report.ts";
import { Closers, rotated, type Context } from "../context.ts";
import { Shop } from "../shop.ts";
import { spreadOf } from "../statistics.ts";

/** Latency of payment provider and carrier: with few concurrent orders, CPU is not the limit. */
const PROVIDER_MS = 100;
/** Only orders in the middle are timed, since at the start and the end some workers are idle. */
const MIDDLE = [0.1, 0.9] as const;

/** Whether throughput grows with the workers while the providers are the bottleneck. */
export async function scaling({
  testBed,
  sizes,
  signal,
  note,
}: Context): Promise<NonNullable<BenchReport["scaling"]>> {
  const { workers: counts, concurrency, ms } = sizes.scaling;
  /** The throughput of a stage that calls a provider once per order. */
  const idealOf = (workers: number) => (workers * concurrency * 1_000) / PROVIDER_MS;
  const closers = new Closers();
  try {
    const shops = await Promise.all(
      counts.map(async (workers) => {
        const shop = closers.add(
          await Shop.open(testBed, {
            name: `scaling-${workers}`,
            env: { PROVIDER_LATENCY_MS: String(PROVIDER_MS) },
          }),
          (opened) => opened.close(),
        );
        await shop.startWorkers(workers, ["--concurrency", String(concurrency)]);
        return { workers, shop, rates: [] as number[] };
      }),
    );
    const run = async (shop: Shop, orders: number): Promise<number> => {
      signal.throwIfAborted();
      const last = await lastEvent(shop);
      await shop.queues.hold();
      await shop.placeOrders(orders);
      await shop.queues.release();
      await shop.queues.untilEmpty(shop.workers, signal);
      return rateSince(shop, last, orders);
    };
    // Cold code takes several times the CPU, and here all workers share the cores.
    for (const { workers, shop } of shops) await run(shop, workers * sizes.scaling.warmUpOrders);
    for (let repeat = 0; repeat < sizes.repeats; repeat++) {
      for (const { workers, shop, rates } of rotated(shops, repeat)) {
        const rate = await run(shop, Math.round((idealOf(workers) * ms) / 1_000));
        rates.push(rate);
        note(`scaling ${repeat + 1}: ${workers} workers: ${rate.toFixed(0)}/s of ${idealOf(workers)}/s`);
      }
    }
    return {
      providerMs: PROVIDER_MS,
      concurrency,
      rows: shops.map(({ workers, rates }) => ({
        workers,
        ordersPerSecond: spreadOf(rates),
        ideal: idealOf(workers),
      })),
    };
  } finally {
    await closers.close();
  }
}

async function lastEvent(shop: Shop): Promise<number> {
  const [row] = await shop.sql.rows("SELECT COALESCE(MAX(id), 0) AS last FROM order_events");
  return number(row?.["last"]);
}

/** Orders delivered per second after an event, without the first and last of them. */
async function rateSince(shop: Shop, event: number, orders: number): Promise<number> {
  const rows = await shop.sql.rows(
    "SELECT at FROM order_events WHERE id > ? AND to_status = 'DELIVERED' AND type = 'status' ORDER BY at",
    [event],
  );
  if (rows.length !== orders)
    throw new Failure(`${shop.name}: ${rows.length} of ${orders} orders were delivered`);
  const [from, to] = MIDDLE.map((part) => Math.floor(part * (rows.length - 1)));
  if (from === undefined || to === undefined) throw new Error("a middle has two ends");
  const took = instant(rows[to]?.["at"]) - instant(rows[from]?.["at"]);
  return ((to - from) / Math.max(1, took)) * 1_000;
}
