import { Failure } from "../../shared/failure.ts";
import { copyOrders } from "../history.ts";
import type { BenchReport } from "../report.ts";
import { Closers, rotated, type Context } from "../context.ts";
import { Shop } from "../shop.ts";
import { spreadOf } from "../statistics.ts";
import { acceptedOf } from "./accept.ts";

/** A shop with this many past orders. */
interface Grown {
  readonly orders: number;
  readonly shop: Shop;
  readonly acceptPerSecond: number[];
  readonly drainPerSecond: number[];
}

/** Whether a shop slows down as past or waiting orders accumulate. */
export async function growth({
  testBed,
  sizes,
  signal,
  note,
}: Context): Promise<NonNullable<BenchReport["growth"]>> {
  const { orders: counts, acceptMs, drainOrders, backlog } = sizes.growth;
  const closers = new Closers();
  try {
    const grown = await openAll();
    for (const { shop } of grown) await acceptAndDrain(shop);
    for (let repeat = 0; repeat < sizes.repeats; repeat++) {
      for (const each of rotated(grown, repeat)) {
        const { accepted, drained } = await acceptAndDrain(each.shop);
        each.acceptPerSecond.push(accepted);
        each.drainPerSecond.push(drained);
        note(
          `growth ${repeat + 1}: ${each.orders} orders: ${Math.round(accepted)}/s in, ${Math.round(drained)}/s out`,
        );
      }
    }
    const [smallest] = grown;
    if (smallest === undefined) throw new Error("nothing was measured");
    return {
      rows: grown.map(({ orders, acceptPerSecond, drainPerSecond }) => ({
        orders,
        acceptPerSecond: spreadOf(acceptPerSecond),
        drainPerSecond: spreadOf(drainPerSecond),
      })),
      backlog: await withBacklog(smallest.shop),
    };
  } finally {
    await closers.close();
  }

  /** The first shop's orders are real; the other shops get copies of them. */
  async function openAll(): Promise<Grown[]> {
    const [fewest = 0] = counts;
    const grown: Grown[] = [];
    for (const orders of counts) {
      signal.throwIfAborted();
      const shop = closers.add(await Shop.open(testBed, { name: `growth-${orders}` }), (opened) =>
        opened.close(),
      );
      const [first] = grown;
      const began = performance.now();
      if (first) {
        const copies = Math.round(orders / fewest);
        await copyOrders(shop.sql, { from: first.shop.databaseName, to: shop.databaseName, copies });
      }
      await Promise.all([shop.startApi(), shop.startWorkers()]);
      if (!first) {
        await shop.placeOrders(orders);
        await shop.queues.untilEmpty(shop.workers, signal);
      }
      await shop.assertDelivered(orders);
      note(`growth: ${orders} orders made in ${((performance.now() - began) / 1_000).toFixed(0)} s`);
      grown.push({ orders, shop, acceptPerSecond: [], drainPerSecond: [] });
    }
    return grown;
  }

  /** Orders per second, first accepted, then drained. */
  async function acceptAndDrain(shop: Shop): Promise<{ accepted: number; drained: number }> {
    signal.throwIfAborted();
    await shop.queues.hold();
    const accepted = await takeOrders(shop);
    const waiting = await shop.queues.countWaiting();
    const missing = drainOrders - waiting;
    if (missing > 0) await shop.placeOrders(missing);
    return { accepted, drained: await drainAll(shop, Math.max(waiting, drainOrders)) };
  }

  async function takeOrders(shop: Shop): Promise<number> {
    const before = await shop.queues.countWaiting();
    const result = await testBed.load.run({
      kind: "closed",
      ...shop.target(),
      connections: Math.max(...sizes.accept.connections),
      until: { ms: acceptMs },
    });
    await shop.queues.untilWaiting(before + acceptedOf(result.all), signal);
    return (acceptedOf(result.inTime) / result.lasted) * 1_000;
  }

  async function drainAll(shop: Shop, orders: number): Promise<number> {
    const began = performance.now();
    await shop.queues.release();
    await shop.queues.untilEmpty(shop.workers, signal);
    const ms = performance.now() - began;
    const open = await shop.countOpen();
    if (open > 0) throw new Failure(`${shop.name}: ${open} orders were not delivered`);
    return (orders / ms) * 1_000;
  }

  async function withBacklog(shop: Shop) {
    signal.throwIfAborted();
    await shop.queues.hold();
    const before = await shop.queues.memory();
    await shop.placeOrders(backlog);
    const bytes = (await shop.queues.memory()) - before;
    const acceptPerSecond = await takeOrders(shop);
    const waiting = await shop.queues.countWaiting();
    const drainPerSecond = await drainAll(shop, waiting);
    note(`growth: a backlog of ${waiting} orders: ${Math.round(drainPerSecond)}/s out`);
    return { orders: backlog, acceptPerSecond, drainPerSecond, redisBytesPerOrder: bytes / backlog };
  }
}
