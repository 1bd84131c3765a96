import { randomUUID } from "node:crypto";
import { Failure } from "../../shared/failure.ts";
import { cpuMsOf, type BenchProcess } from "../process.ts";
import { QueueLine } from "../queue-line.ts";
import type { BenchReport, DrainRow } from "../report.ts";
import { Closers, rotated, type Scene } from "../scene.ts";
import { Shop } from "../shop.ts";
import { spreadOf } from "../statistics.ts";
import { known, NAMES, ONE_TRANSACTION, SYNC, SYNC_GROUPED, type Mode } from "../variants.ts";
import { acceptedOf } from "./accept.ts";

/** Clients of a shop without a queue who order at the same time: as many as a worker has orders in hand in each stage. */
const SYNC_CONNECTIONS = 50;

/** Somebody who carries orders through all stages. */
interface Carrier {
  readonly name: string;
  readonly process: BenchProcess;
  readonly isSlow: boolean;
  /** Makes a backlog of so many orders, which waits. @returns what works on it, and resolves when nothing is left. */
  readonly prepare: (orders: number) => Promise<() => Promise<void>>;
  /** After so many orders altogether. @throws {Failure} when one was not delivered. */
  readonly check: (orders: number) => Promise<void>;
}

interface Measured {
  readonly carrier: Carrier;
  readonly orders: number;
  readonly ms: number;
  readonly cpu: { readonly node: number; readonly mysql: number; readonly redis: number } | undefined;
}

/** How fast a backlog is worked off, and what that costs. */
export async function drain({
  stand,
  sizes,
  signal,
  note,
}: Scene): Promise<NonNullable<BenchReport["drain"]>> {
  const closers = new Closers();
  try {
    const carriers = await Promise.all([
      startBullmq(),
      startQueued({ name: NAMES.conveyor, env: {} }, false),
      ...known([ONE_TRANSACTION]).map((mode) => startQueued(mode, true)),
      ...known([SYNC, SYNC_GROUPED]).map((mode) => startSync(mode)),
    ]);
    const totals = new Map<Carrier, number>();
    const run = async (carrier: Carrier, orders: number): Promise<Measured> => {
      signal.throwIfAborted();
      const measured = await measure(carrier, orders);
      const total = (totals.get(carrier) ?? 0) + orders;
      totals.set(carrier, total);
      await carrier.check(total);
      return measured;
    };
    const { orders, slowOrders, warmUpOrders } = sizes.drain;
    for (const carrier of carriers)
      await run(carrier, Math.min(warmUpOrders, carrier.isSlow ? slowOrders : orders));
    const measured: Measured[] = [];
    for (let repeat = 0; repeat < sizes.repeats; repeat++) {
      for (const carrier of rotated(carriers, repeat)) {
        const taken = await run(carrier, carrier.isSlow ? slowOrders : orders);
        measured.push(taken);
        note(`drain ${repeat + 1}: ${carrier.name}: ${Math.round(rateOf(taken))}/s`);
      }
    }
    return {
      rows: carriers.map((carrier) =>
        rowOf(
          carrier.name,
          measured.filter((taken) => taken.carrier === carrier),
        ),
      ),
    };
  } finally {
    await closers.close();
  }

  async function startBullmq(): Promise<Carrier> {
    const room = closers.add(await stand.makeRoom(), (opened) => opened.close());
    const line = closers.add(new QueueLine(room.redisUrl), (opened) => opened.close());
    const worker = await stand.startBaseline("baselines/bullmq.ts", {
      name: "bullmq",
      env: { REDIS_URL: room.redisUrl },
      readyMessage: "worker ready",
    });
    closers.add(worker, (started) => started.stop());
    return {
      name: NAMES.bullmq,
      process: worker,
      isSlow: false,
      prepare: (orders) =>
        heldBack(line, worker, () => line.add(Array.from({ length: orders }, () => randomUUID()))),
      check: async () => {},
    };
  }

  async function startQueued({ name, env }: Mode, isSlow: boolean): Promise<Carrier> {
    const shop = closers.add(
      await Shop.open(stand, { name: `drain-${isSlow ? "single" : "grouped"}`, env }),
      (opened) => opened.close(),
    );
    await shop.startWorkers();
    const [worker] = shop.workers;
    if (worker === undefined) throw new Error("no worker was started");
    return {
      name,
      process: worker,
      isSlow,
      prepare: (orders) => heldBack(shop.line, worker, () => shop.takeIn(orders)),
      check: (orders) => shop.assertDelivered(orders),
    };
  }

  /** The backlog is the clients, who come as soon as the one before them is served. */
  async function startSync({ name, env }: Mode): Promise<Carrier> {
    const shop = closers.add(await Shop.open(stand, { name: "drain-sync", env }), (opened) => opened.close());
    await shop.startApi();
    return {
      name,
      process: shop.api,
      isSlow: true,
      prepare: async (orders) => async () => {
        const { all } = await stand.load.run({
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
    line: QueueLine,
    worker: BenchProcess,
    fill: () => Promise<unknown>,
  ): Promise<() => Promise<void>> {
    await line.hold();
    await fill();
    return async () => {
      await line.release();
      await line.untilEmpty([worker], signal);
    };
  }

  async function measure(carrier: Carrier, orders: number): Promise<Measured> {
    const work = await carrier.prepare(orders);
    const pids = [carrier.process.pid, stand.mysql.pid, stand.redis.pid];
    const before = pids.map((pid) => cpuMsOf([pid]));
    const began = performance.now();
    await work();
    const ms = performance.now() - began;
    const [node, mysql, redis] = pids.map((pid, index) => (cpuMsOf([pid]) ?? NaN) - (before[index] ?? NaN));
    const cpu = { node: node ?? NaN, mysql: mysql ?? NaN, redis: redis ?? NaN };
    return { carrier, orders, ms, cpu: Number.isNaN(cpu.node + cpu.mysql + cpu.redis) ? undefined : cpu };
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
