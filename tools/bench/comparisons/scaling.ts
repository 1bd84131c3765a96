import { Failure } from "../../shared/failure.ts";
import { instant, number } from "../../chaos/sql.ts";
import type { BenchReport } from "../report.ts";
import { Closers, rotated, type Scene } from "../scene.ts";
import { Shop } from "../shop.ts";
import { spreadOf } from "../statistics.ts";

/** Milliseconds that payment provider and carrier take: with few orders at once, nobody is short of CPU. */
const PROVIDER_MS = 100;
/** Of the orders, those in the middle are timed: at the beginning and the end not all workers have work. */
const MIDDLE = [0.1, 0.9] as const;

/** Whether more workers get more done, while the providers are what takes time. */
export async function scaling({
  stand,
  sizes,
  signal,
  note,
}: Scene): Promise<NonNullable<BenchReport["scaling"]>> {
  const { workers: counts, concurrency, ms } = sizes.scaling;
  /** What a stage lets through that asks a provider once. */
  const idealOf = (workers: number) => (workers * concurrency * 1_000) / PROVIDER_MS;
  const closers = new Closers();
  try {
    const shops = await Promise.all(
      counts.map(async (workers) => {
        const shop = closers.add(
          await Shop.open(stand, {
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
      await shop.line.hold();
      await shop.takeIn(orders);
      await shop.line.release();
      await shop.line.untilEmpty(shop.workers, signal);
      return rateSince(shop, last, orders);
    };
    // Code that runs for the first times costs several times as much, and here all workers share the cores.
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

/** Orders a second that were delivered after an event, without the first and the last of them. */
async function rateSince(shop: Shop, event: number, orders: number): Promise<number> {
  const rows = await shop.sql.rows(
    "SELECT at FROM order_events WHERE id > ? AND to_status = 'DELIVERED' AND type = 'status' ORDER BY at",
    [event],
  );
  if (rows.length !== orders)
    throw new Failure(`${shop.name}: of ${orders} orders ${rows.length} were delivered`);
  const [from, to] = MIDDLE.map((part) => Math.floor(part * (rows.length - 1)));
  if (from === undefined || to === undefined) throw new Error("a middle has two ends");
  const took = instant(rows[to]?.["at"]) - instant(rows[from]?.["at"]);
  return ((to - from) / Math.max(1, took)) * 1_000;
}
