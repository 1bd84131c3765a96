import { randomUUID } from "node:crypto";
import { percentile } from "../../shared/percentile.ts";
import { Transport } from "../../shared/transport.ts";
import { Failure } from "../../shared/failure.ts";
import { QueueLine } from "../queue-line.ts";
import type { BenchReport } from "../report.ts";
import { Closers, type Scene } from "../scene.ts";
import { API_KEY, Shop } from "../shop.ts";
import { spreadOf } from "../statistics.ts";
import { known, NAMES, ONE_TRANSACTION, SYNC, type Mode } from "../variants.ts";
import { makeOrders } from "../workload.ts";

/** Longer than anything takes that works. */
const PATIENCE_MS = 30_000;

interface Way {
  readonly name: string;
  /** Sends one order all the way. @returns the milliseconds that it took. */
  readonly go: () => Promise<number>;
  /** After so many orders. @throws {Failure} when one was not delivered. */
  readonly check: (orders: number) => Promise<void>;
}

/** How long one order takes, with nobody else there: they take turns, order by order. */
export async function alone({
  stand,
  sizes,
  signal,
  note,
}: Scene): Promise<NonNullable<BenchReport["alone"]>> {
  const { orders, warmUpOrders } = sizes.alone;
  const closers = new Closers();
  try {
    const ways = await Promise.all([
      openChain(),
      openShop({ name: NAMES.conveyor, env: {} }, true),
      ...known([ONE_TRANSACTION]).map((mode) => openShop(mode, true)),
      ...known([SYNC]).map((mode) => openShop(mode, false)),
    ]);
    const run = async (count: number): Promise<Map<Way, number[]>> => {
      const times = new Map<Way, number[]>(ways.map((way) => [way, []]));
      for (let index = 0; index < count; index++) {
        for (const way of ways) {
          signal.throwIfAborted();
          times.get(way)?.push(await way.go());
        }
      }
      return times;
    };
    await run(warmUpOrders);
    const repeats: Map<Way, number[]>[] = [];
    for (let repeat = 0; repeat < sizes.repeats; repeat++) {
      const times = await run(orders);
      repeats.push(times);
      const said = ways.map((way) => `${way.name} ${percentileOf(times.get(way), 0.5).toFixed(1)} ms`);
      note(`alone ${repeat + 1}: ${said.join(", ")}`);
    }
    for (const way of ways) await way.check(warmUpOrders + orders * sizes.repeats);
    return {
      rows: ways.map((way) => ({
        name: way.name,
        orders,
        p50: spreadOf(repeats.map((times) => percentileOf(times.get(way), 0.5))),
        p99: spreadOf(repeats.map((times) => percentileOf(times.get(way), 0.99))),
      })),
    };
  } finally {
    await closers.close();
  }

  async function openChain(): Promise<Way> {
    const room = closers.add(await stand.makeRoom(), (opened) => opened.close());
    const line = closers.add(new QueueLine(room.redisUrl), (opened) => opened.close());
    await line.listen();
    const worker = await stand.startBaseline("baselines/bullmq.ts", {
      name: "chain",
      env: { REDIS_URL: room.redisUrl },
      readyMessage: "worker ready",
    });
    closers.add(worker, (started) => started.stop());
    return {
      name: NAMES.bullmq,
      go: async () => {
        const id = randomUUID();
        const began = performance.now();
        await line.add([id]);
        await line.finished(id, PATIENCE_MS);
        return performance.now() - began;
      },
      check: async () => {},
    };
  }

  /** Done is an order when its last job is; without a queue, when it is answered. */
  async function openShop({ name, env }: Mode, isQueued: boolean): Promise<Way> {
    const shop = closers.add(await Shop.open(stand, { name: "alone", env }), (opened) => opened.close());
    await shop.startApi();
    if (isQueued) {
      await shop.line.listen();
      await shop.startWorkers();
    }
    const transport = new Transport(new URL(`http://127.0.0.1:${shop.port}`), 1);
    closers.add(transport, async (opened) => opened.close());
    const requests = makeOrders(orders, 1).map((order) => JSON.stringify(order));
    let next = 0;
    return {
      name,
      go: async () => {
        const began = performance.now();
        const answer = await transport.send({
          method: "POST",
          path: "/orders",
          headers: { authorization: `Bearer ${API_KEY}`, "idempotency-key": randomUUID() },
          body: requests[next++ % requests.length] ?? "",
        });
        if (answer.status !== (isQueued ? 202 : 201))
          throw new Failure(`${name} answered ${answer.status}: ${answer.text}`);
        if (isQueued) await shop.line.finished(String(JSON.parse(answer.text).id), PATIENCE_MS);
        return performance.now() - began;
      },
      check: (count) => shop.assertDelivered(count),
    };
  }
}

function percentileOf(times: readonly number[] | undefined, part: number): number {
  return percentile(
    (times ?? []).toSorted((a, b) => a - b),
    part,
  );
}
