import { randomUUID } from "node:crypto";
import { BareChain } from "../bare-chain.ts";
import { inRounds, type Context } from "../context.ts";
import { acceptedOf } from "../load/messages.ts";
import { cpuMsOf, type BenchProcess } from "../process.ts";
import { Failure } from "../../shared/failure.ts";
import { startProviders } from "../../simulators/providers.ts";
import type { DrainRow, ResultOf } from "../report.ts";
import { Shop, type ShopOptions } from "../shop.ts";
import { spreadIfKnown, spreadOf } from "../statistics.ts";
import { CONVEYOR, NAMES, ONE_TRANSACTION, QUEUED, SYNC, SYNC_GROUPED, type Mode } from "../variants.ts";

/** Concurrent clients of a synchronous shop: as many as a worker processes orders per stage. */
const SYNC_CONNECTIONS = 50;

/** A system that takes orders through all stages. */
interface Contender {
  readonly name: string;
  readonly process: BenchProcess;
  /** Orders of a round. */
  readonly orders: number;
  /** Makes a backlog and holds it. @returns a function that drains it */
  readonly prepare: (orders: number) => Promise<() => Promise<void>>;
  /** Checks that this many orders were delivered in total. @throws {Failure} */
  readonly check: (orders: number) => Promise<void>;
  /** Orders so far. */
  total: number;
}

interface Drained {
  readonly orders: number;
  readonly ms: number;
  /** Milliseconds of CPU used by the worker, or the synchronous API; by MySQL; and by Redis. NaN if unknown. */
  readonly cpu: readonly number[];
}

/** How fast a backlog drains until every order is DELIVERED in MySQL, and the CPU that takes. */
export async function drain(context: Context): Promise<ResultOf<"drain">> {
  const { before, note, sizes } = context;
  const { orders, slowOrders, warmUpOrders } = sizes.drain;
  const http = await overHttp(context);
  const contenders = await Promise.all([
    bareBullmq(context, orders),
    queued(context, orders, CONVEYOR),
    ...(before ? [queued(context, orders, { name: NAMES.before, env: {} }, { version: before })] : []),
    queued(context, orders, QUEUED),
    queued(context, orders, http),
    queued(context, slowOrders, ONE_TRANSACTION),
    synchronous(context, slowOrders, SYNC),
    synchronous(context, slowOrders, SYNC_GROUPED),
  ]);
  for (const contender of contenders)
    await drainOnce(context, contender, Math.min(warmUpOrders, contender.orders));
  const measured = await inRounds(context, contenders, async (contender, round) => {
    const drained = await drainOnce(context, contender, contender.orders);
    note(`drain ${round}: ${contender.name}: ${Math.round(rateOf(drained))}/s`);
    return drained;
  });
  return {
    ...(before ? { before: before.name } : {}),
    rows: measured.map(({ item, taken }) => rowOf(item, taken)),
  };
}

async function bareBullmq(context: Context, orders: number): Promise<Contender> {
  const chain = await BareChain.open(context);
  const { queues, worker } = chain;
  return {
    name: NAMES.bullmq,
    process: worker,
    orders,
    async prepare(count) {
      await queues.hold();
      await queues.add(Array.from({ length: count }, () => randomUUID()));
      return async () => {
        await queues.release();
        await chain.untilEmpty(context.signal);
      };
    },
    check: async () => {},
    total: 0,
  };
}

async function queued(
  context: Context,
  orders: number,
  { name, env }: Mode,
  options: Pick<ShopOptions, "version"> = {},
): Promise<Contender> {
  const shop = await Shop.open(context, { name: "drain", env, ...options });
  await shop.startWorkers();
  return {
    name,
    process: shop.worker,
    orders,
    async prepare(count) {
      await shop.queues.hold();
      await shop.placeOrders(count);
      await shop.queues.untilWaiting(count, context.signal);
      return async () => {
        await shop.queues.release();
        await shop.untilDelivered(context.signal);
      };
    },
    check: (total) => shop.orders.assertDelivered(total),
    total: 0,
  };
}

/** Payment provider and carrier are servers. They run in this process, which only waits for the drain. */
async function overHttp({ closers }: Context): Promise<Mode> {
  const providers = closers.add(await startProviders({ transitMs: 0 }), (started) => started.close());
  const { paymentsUrl, carrierUrl } = providers;
  const env = { PROVIDERS_MODULE: "", PAYMENTS_URL: paymentsUrl, CARRIER_URL: carrierUrl };
  return { name: NAMES.overHttp, env };
}

/** Here the backlog is the clients: each sends its next order once the last one is answered. */
async function synchronous(context: Context, orders: number, { name, env }: Mode): Promise<Contender> {
  const shop = await Shop.open(context, { name: "drain-sync", env });
  await shop.startApi();
  const load = { kind: "closed", connections: SYNC_CONNECTIONS } as const;
  return {
    name,
    process: shop.api,
    orders,
    prepare: async (count) => async () => {
      const { all } = await context.testBed.load.run({ ...load, ...shop.target(), until: { orders: count } });
      if (acceptedOf(all) !== count)
        throw new Failure(`${name} answered ${JSON.stringify(all)} to ${count} orders`);
    },
    check: (total) => shop.orders.assertDelivered(total),
    total: 0,
  };
}

async function drainOnce({ testBed }: Context, contender: Contender, orders: number): Promise<Drained> {
  const work = await contender.prepare(orders);
  const pids = [contender.process.pid, testBed.mysql.pid, testBed.redis.pid];
  const before = pids.map(cpuMsOf);
  const began = performance.now();
  await work();
  const ms = performance.now() - began;
  const cpu = pids.map((pid, index) => cpuMsOf(pid) - (before[index] ?? NaN));
  contender.total += orders;
  await contender.check(contender.total);
  return { orders, ms, cpu };
}

function rowOf({ name, orders }: Contender, taken: readonly Drained[]): DrainRow {
  const [node, mysql, redis] = [0, 1, 2].map((part) =>
    spreadIfKnown(taken.map(({ cpu }) => (cpu[part] ?? NaN) / orders)),
  );
  return {
    name,
    orders,
    ordersPerSecond: spreadOf(taken.map(rateOf)),
    cpu: node && mysql && redis ? { node, mysql, redis } : null,
  };
}

function rateOf({ orders, ms }: Drained): number {
  return (orders / ms) * 1_000;
}
