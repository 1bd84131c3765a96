import { randomUUID } from "node:crypto";
import { percentile } from "../../shared/percentile.ts";
import { Transport } from "../../shared/transport.ts";
import { Failure } from "../../shared/failure.ts";
import { PipelineQueues } from "../pipeline-queues.ts";
import type { BenchReport } from "../report.ts";
import { Closers, type Context } from "../context.ts";
import { API_KEY, Shop } from "../shop.ts";
import { spreadOf } from "../statistics.ts";
import { known, NAMES, ONE_TRANSACTION, SYNC, type Mode } from "../variants.ts";
import { makeOrders } from "../workload.ts";

/** Longer than any order takes if everything works. */
const PATIENCE_MS = 30_000;

interface Contender {
  readonly name: string;
  /** Processes one order to its end. @returns the milliseconds it took */
  readonly go: () => Promise<number>;
  /** Checks that this many orders were delivered. @throws {Failure} */
  readonly check: (orders: number) => Promise<void>;
}

/** How long one order takes on an idle system. The contenders take turns, order by order. */
export async function alone({
  testBed,
  sizes,
  signal,
  note,
}: Context): Promise<NonNullable<BenchReport["alone"]>> {
  const { orders, warmUpOrders } = sizes.alone;
  const closers = new Closers();
  try {
    const ways = await Promise.all([
      openChain(),
      openShop({ name: NAMES.conveyor, env: {} }, true),
      ...known([ONE_TRANSACTION]).map((mode) => openShop(mode, true)),
      ...known([SYNC]).map((mode) => openShop(mode, false)),
    ]);
    const run = async (count: number): Promise<Map<Contender, number[]>> => {
      const times = new Map<Contender, number[]>(ways.map((way) => [way, []]));
      for (let index = 0; index < count; index++) {
        for (const way of ways) {
          signal.throwIfAborted();
          times.get(way)?.push(await way.go());
        }
      }
      return times;
    };
    await run(warmUpOrders);
    const repeats: Map<Contender, number[]>[] = [];
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

  async function openChain(): Promise<Contender> {
    const sandbox = closers.add(await testBed.makeSandbox(), (opened) => opened.close());
    const queues = closers.add(new PipelineQueues(sandbox.redisUrl), (opened) => opened.close());
    await queues.listen();
    const worker = await testBed.startBaseline("baselines/bullmq.ts", {
      name: "chain",
      env: { REDIS_URL: sandbox.redisUrl },
      readyMessage: "worker ready",
    });
    closers.add(worker, (started) => started.stop());
    return {
      name: NAMES.bullmq,
      go: async () => {
        const id = randomUUID();
        const began = performance.now();
        await queues.add([id]);
        await queues.finished(id, PATIENCE_MS);
        return performance.now() - began;
      },
      check: async () => {},
    };
  }

  /** An order is done when its last job is, or, without a queue, when it is answered. */
  async function openShop({ name, env }: Mode, isQueued: boolean): Promise<Contender> {
    const shop = closers.add(await Shop.open(testBed, { name: "alone", env }), (opened) => opened.close());
    await shop.startApi();
    if (isQueued) {
      await shop.queues.listen();
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
        if (isQueued) await shop.queues.finished(String(JSON.parse(answer.text).id), PATIENCE_MS);
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
