import { inRounds, type Context } from "../context.ts";
import { copyOrders } from "../history.ts";
import { Failure } from "../../shared/failure.ts";
import { acceptedOf } from "../load/messages.ts";
import type { ResultOf } from "../report.ts";
import { Shop } from "../shop.ts";
import { spreadOf } from "../statistics.ts";

/** A shop with this many past orders. */
interface Grown {
  readonly orders: number;
  readonly shop: Shop;
}

/** Orders per second. */
interface Rates {
  readonly accepted: number;
  readonly drained: number;
}

/** Whether a shop slows down as past or waiting orders accumulate. */
export async function growth(context: Context): Promise<ResultOf<"growth">> {
  const grown: Grown[] = [];
  for (const orders of context.sizes.growth.orders) grown.push(await grow(context, orders, grown[0]));
  for (const { shop } of grown) await acceptAndDrain(context, shop);
  const measured = await inRounds(context, grown, async ({ orders, shop }, round) => {
    const rates = await acceptAndDrain(context, shop);
    const [accepted, drained] = [rates.accepted, rates.drained].map(Math.round);
    context.note(`growth ${round}: ${orders} orders: ${accepted}/s in, ${drained}/s out`);
    return rates;
  });
  const [smallest] = grown;
  if (smallest === undefined) throw new Error("nothing was measured");
  return {
    rows: measured.map(({ item, taken }) => ({
      orders: item.orders,
      acceptPerSecond: spreadOf(taken.map(({ accepted }) => accepted)),
      drainPerSecond: spreadOf(taken.map(({ drained }) => drained)),
    })),
    backlog: await withBacklog(context, smallest.shop),
  };
}

/** Makes a shop with past orders. Those of the first are real; the others get copies of them. */
async function grow(context: Context, orders: number, first: Grown | undefined): Promise<Grown> {
  context.signal.throwIfAborted();
  const began = performance.now();
  const shop = await Shop.open(context, { name: `growth-${orders}` });
  if (first) {
    const copies = Math.round(orders / first.orders);
    await copyOrders(shop.sql, { from: first.shop.databaseName, to: shop.databaseName, copies });
  } else await shop.placeOrders(orders);
  await Promise.all([shop.startApi(), shop.startWorkers()]);
  await shop.untilDelivered(context.signal);
  await shop.orders.assertDelivered(orders);
  context.note(`growth: ${orders} orders made in ${((performance.now() - began) / 1_000).toFixed(0)} s`);
  return { orders, shop };
}

async function acceptAndDrain(context: Context, shop: Shop): Promise<Rates> {
  context.signal.throwIfAborted();
  await shop.queues.hold();
  const accepted = await takeOrders(context, shop);
  const missing = context.sizes.growth.drainOrders - (await shop.queues.countWaiting());
  if (missing > 0) await shop.placeOrders(missing);
  return { accepted, drained: await drainAll(context, shop) };
}

/** @returns orders accepted per second */
async function takeOrders({ testBed, sizes, signal }: Context, shop: Shop): Promise<number> {
  const before = await shop.queues.countWaiting();
  const result = await testBed.load.run({
    kind: "closed",
    ...shop.target(),
    connections: Math.max(...sizes.accept.connections),
    until: { ms: sizes.growth.acceptMs },
  });
  await shop.queues.untilWaiting(before + acceptedOf(result.all), signal);
  return (acceptedOf(result.inTime) / result.lasted) * 1_000;
}

/** @returns orders drained per second */
async function drainAll({ signal }: Context, shop: Shop): Promise<number> {
  const orders = await shop.queues.countWaiting();
  const began = performance.now();
  await shop.queues.release();
  await shop.untilDelivered(signal);
  const ms = performance.now() - began;
  const open = await shop.orders.countOpen();
  if (open > 0) throw new Failure(`${shop.name}: ${open} orders were not delivered`);
  return (orders / ms) * 1_000;
}

async function withBacklog(context: Context, shop: Shop): Promise<ResultOf<"growth">["backlog"]> {
  const { backlog: orders } = context.sizes.growth;
  context.signal.throwIfAborted();
  await shop.queues.hold();
  const before = await shop.queues.memory();
  await shop.placeOrders(orders);
  const bytes = (await shop.queues.memory()) - before;
  const acceptPerSecond = await takeOrders(context, shop);
  const waiting = await shop.queues.countWaiting();
  const drainPerSecond = await drainAll(context, shop);
  context.note(`growth: a backlog of ${waiting} orders: ${Math.round(drainPerSecond)}/s out`);
  return { orders, acceptPerSecond, drainPerSecond, redisBytesPerOrder: bytes / orders };
}
