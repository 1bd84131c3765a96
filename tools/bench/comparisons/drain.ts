import { randomUUID } from "node:crypto";
import { Failure } from "../../shared/failure.ts";
import { cpuMsOf, type BenchProcess } from "../process.ts";
import { PipelineQueues } from "../pipeline-queues.ts";
import type { BenchReport, DrainRow } from "../report.ts";
import { Closers, rotated, type Context } from "../context.ts";
import { Shop } from "../shop.ts";
import { spreadOf } from "../statistics.ts";
import { known, NAMES, ONE_TRANSACTION, SYNC, SYNC_GROUPED, type Mode } from "../variants.ts";
import { acceptedOf } from "./accept.ts";

/** Concurrent clients of a synchronous shop: as many as a worker processes orders per stage. */
const SYNC_CONNECTIONS = 50;

/** A system that processes orders through all stages. */
interface Contender {
  readonly name: string;
  readonly process: BenchProcess;
  readonly isSlow: boolean;
  /** Makes a backlog of this many orders and holds it. @returns a function that drains it */
  readonly prepare: (orders: number) => Promise<() => Promise<void>>;
  /** Checks that this many orders were delivered in total. @throws {Failure} */
  readonly check: (orders: number) => Promise<void>;
}

interface Measured {
  readonly contender: Contender;
  readonly orders: number;
  readonly ms: number;
  readonly cpu: { readonly node: number; readonly mysql: number; readonly redis: number } | undefined;
}

/** How fast a backlog drains, and the CPU that takes. */
export async function drain({
  testBed,
  sizes,
  signal,
  note,
}: Context): Promise<NonNullable<BenchReport["drain"]>> {
  const closers = new Closers();
  try {
    const contenders = await Promise.all([
      startBullmq(),
      startQueued({ name: NAMES.conveyor, env: {} }, false),
      ...known([ONE_TRANSACTION]).map((mode) => startQueued(mode, true)),
      ...known([SYNC, SYNC_GROUPED]).map((mode) => startSync(mode)),
    ]);
    const totals = new Map<Contender, number>();
    const run = async (contender: Contender, orders: number): Promise<Measured> => {
      signal.throwIfAborted();
      const measured = await measure(contender, orders);
      const total = (totals.get(contender) ?? 0) + orders;
      totals.set(contender, total);
      await contender.check(total);
      return measured;
    };
    const { orders, slowOrders, warmUpOrders } = sizes.drain;
    for (const contender of contenders)
      await run(contender, Math.min(warmUpOrders, contender.isSlow ? slowOrders : orders));
    const measured: Measured[] = [];
    for (let repeat = 0; repeat < sizes.repeats; repeat++) {
      for (const contender of rotated(contenders, repeat)) {
        const taken = await run(contender, contender.isSlow ? slowOrders : orders);
        measured.push(taken);
        note(`drain ${repeat + 1}: ${contender.name}: ${Math.round(rateOf(taken))}/s`);
      }
    }
    return {
      rows: contenders.map((contender) =>
        rowOf(
          contender.name,
          measured.filter((taken) => taken.contender === contender),
        ),
      ),
    };
  } finally {
    await closers.close();
  }

  async function startBullmq(): Promise<Contender> {
    const sandbox = closers.add(await testBed.makeSandbox(), (opened) => opened.close());
    const queues = closers.add(new PipelineQueues(sandbox.redisUrl), (opened) => opened.close());
    const worker = await testBed.startBaseline("baselines/bullmq.ts", {
      name: "bullmq",
      env: { REDIS_URL: sandbox.redisUrl },
      readyMessage: "worker ready",
    });
    closers.add(worker, (started) => started.stop());
    return {
      name: NAMES.bullmq,
      process: worker,
      isSlow: false,
      prepare: (orders) =>
        heldBack(queues, worker, () => queues.add(Array.from({ length: orders }, () => randomUUID()))),
      check: async () => {},
    };
  }

  async function startQueued({ name, env }: Mode, isSlow: boolean): Promise<Contender> {
    const shop = closers.add(
      await Shop.open(testBed, { name: `drain-${isSlow ? "single" : "grouped"}`, env }),
      (opened) => opened.close(),
    );
    await shop.startWorkers();
    const [worker] = shop.workers;
    if (worker === undefined) throw new Error("no worker was started");
    return {
      name,
      process: worker,
      isSlow,
      prepare: (orders) => heldBack(shop.queues, worker, () => shop.placeOrders(orders)),
      check: (orders) => shop.assertDelivered(orders),
    };
  }

  /** Here the backlog is the clients: each sends its next order once the last one is answered. */
  async function startSync({ name, env }: Mode): Promise<Contender> {
    const shop = closers.add(await Shop.open(testBed, { name: "drain-sync", env }), (opened) =>
      opened.close(),
    );
    await shop.startApi();
    return {
      name,
      process: shop.api,
      isSlow: true,
      prepare: async (orders) => async () => {
        const { all } = await testBed.load.run({
          kind: "closed",
          ...shop.target(),
          connections: SYNC_CONNECTIONS,
          until: { orders },
        });
        if (acceptedOf(all) !== orders)
          throw new Failure(`${name} answered ${JSON.stringify(all)} to ${orders} orders`);
      },
      check: (orders) => shop.assertDelivered(orders),
    };
  }

  async function heldBack(
    queues: PipelineQueues,
    worker: BenchProcess,
    fill: () => Promise<unknown>,
  ): Promise<() => Promise<void>> {
    await queues.hold();
    await fill();
    return async () => {
      await queues.release();
      await queues.untilEmpty([worker], signal);
    };
  }

  async function measure(contender: Contender, orders: number): Promise<Measured> {
    const work = await contender.prepare(orders);
    const pids = [contender.process.pid, testBed.mysql.pid, testBed.redis.pid];
    const before = pids.map((pid) => cpuMsOf([pid]));
    const began = performance.now();
    await work();
    const ms = performance.now() - began;
    const [node, mysql, redis] = pids.map((pid, index) => (cpuMsOf([pid]) ?? NaN) - (before[index] ?? NaN));
    const cpu = { node: node ?? NaN, mysql: mysql ?? NaN, redis: redis ?? NaN };
    return { contender, orders, ms, cpu: Number.isNaN(cpu.node + cpu.mysql + cpu.redis) ? undefined : cpu };
  }
}

function rowOf(name: string, measured: readonly Measured[]): DrainRow {
  const cpu = (part: "node" | "mysql" | "redis") =>
    spreadOf(measured.map((each) => (each.cpu?.[part] ?? NaN) / each.orders));
  return {
    name,
    orders: measured[0]?.orders ?? 0,
    ordersPerSecond: spreadOf(measured.map(rateOf)),
    cpu: measured.every((each) => each.cpu !== undefined)
      ? { node: cpu("node"), mysql: cpu("mysql"), redis: cpu("redis") }
      : null,
  };
}

function rateOf({ orders, ms }: Measured): number {
  return (orders / ms) * 1_000;
}
