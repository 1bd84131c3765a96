import { randomUUID } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import { BareChain } from "../bare-chain.ts";
import type { Context } from "../context.ts";
import { percentile } from "../../shared/percentile.ts";
import { Transport } from "../../shared/transport.ts";
import { Failure } from "../../shared/failure.ts";
import type { AloneRow, ResultOf } from "../report.ts";
import { API_KEY, Shop } from "../shop.ts";
import { spreadOf } from "../statistics.ts";
import { CONVEYOR, NAMES, ONE_TRANSACTION, SYNC, type Mode } from "../variants.ts";
import { makeOrders } from "../workload.ts";

/** Longer than any order takes if everything works. */
const PATIENCE_MS = 30_000;
/**
 * The pause between two looks at an order. The product's own event stream would tell without any looks, but some
 * milliseconds after the commit; looks without a pause would take one of two cores from the order.
 */
const LOOK_EVERY_MS = 1;

interface Contender {
  readonly name: string;
  /** Takes one order through all stages. */
  readonly deliver: () => Promise<void>;
  /** Checks that this many orders were delivered. @throws {Failure} */
  readonly check: (orders: number) => Promise<void>;
}

/** How long one order takes on an idle system. The contenders take turns, order by order. */
export async function alone(context: Context): Promise<ResultOf<"alone">> {
  const { note, sizes } = context;
  const { orders, warmUpOrders } = sizes.alone;
  const contenders = await Promise.all([
    bareChain(context),
    queued(context, CONVEYOR),
    queued(context, ONE_TRANSACTION),
    synchronous(context, SYNC),
  ]);
  await takeTurns(context, contenders, warmUpOrders);
  const rounds: number[][][] = [];
  for (let round = 1; round <= sizes.repeats; round++) {
    const times = await takeTurns(context, contenders, orders);
    rounds.push(times);
    const said = contenders.map(
      ({ name }, index) => `${name} ${percentile(times[index] ?? [], 0.5).toFixed(1)} ms`,
    );
    note(`alone ${round}: ${said.join(", ")}`);
  }
  for (const { check } of contenders) await check(warmUpOrders + orders * sizes.repeats);
  return {
    rows: contenders.map(({ name }, index) =>
      rowOf(
        name,
        rounds.map((times) => times[index] ?? []),
      ),
    ),
  };
}

async function bareChain(context: Context): Promise<Contender> {
  const chain = await BareChain.open(context);
  return { name: NAMES.bullmq, deliver: await chain.listen(context.closers), check: async () => {} };
}

/** An order ends when MySQL says so. */
async function queued(context: Context, { name, env }: Mode): Promise<Contender> {
  const shop = await Shop.open(context, { name: "alone", env });
  await Promise.all([shop.startApi(), shop.startWorkers()]);
  const place = clientOf(context, shop, 202);
  return {
    name,
    async deliver() {
      const id = await place();
      const deadline = performance.now() + PATIENCE_MS;
      while (await shop.orders.isUnderWay(id)) {
        if (performance.now() > deadline) throw new Failure(`${name}: order ${id} is not delivered`);
        await delay(LOOK_EVERY_MS);
      }
    },
    check: (orders) => shop.orders.assertDelivered(orders),
  };
}

/** An order ends when it is answered. */
async function synchronous(context: Context, { name, env }: Mode): Promise<Contender> {
  const shop = await Shop.open(context, { name: "alone-sync", env });
  await shop.startApi();
  const place = clientOf(context, shop, 201);
  return {
    name,
    deliver: async () => void (await place()),
    check: (orders) => shop.orders.assertDelivered(orders),
  };
}

/** @returns a function that places an order over a connection that is kept, and returns its id */
function clientOf({ closers, sizes }: Context, shop: Shop, status: number): () => Promise<string> {
  const transport = new Transport(new URL(`http://127.0.0.1:${shop.port}`), 1);
  closers.add(transport, async (opened) => opened.close());
  const requests = makeOrders(sizes.alone.orders, 1).map((order) => JSON.stringify(order));
  let next = 0;
  return async () => {
    const answer = await transport.send({
      method: "POST",
      path: "/orders",
      headers: { authorization: `Bearer ${API_KEY}`, "idempotency-key": randomUUID() },
      body: requests[next++ % requests.length] ?? "",
    });
    if (answer.status !== status) throw new Failure(`${shop.name} answered ${answer.status}: ${answer.text}`);
    return String(JSON.parse(answer.text).id);
  };
}

/** @returns the milliseconds of each order, sorted, by contender */
async function takeTurns(
  { signal }: Context,
  contenders: readonly Contender[],
  orders: number,
): Promise<number[][]> {
  const times: number[][] = contenders.map(() => []);
  for (let order = 0; order < orders; order++) {
    for (const [index, { deliver }] of contenders.entries()) {
      signal.throwIfAborted();
      const began = performance.now();
      await deliver();
      times[index]?.push(performance.now() - began);
    }
  }
  return times.map((each) => each.toSorted((a, b) => a - b));
}

function rowOf(name: string, rounds: readonly (readonly number[])[]): AloneRow {
  return {
    name,
    orders: rounds[0]?.length ?? 0,
    p50: spreadOf(rounds.map((times) => percentile(times, 0.5))),
    p99: spreadOf(rounds.map((times) => percentile(times, 0.99))),
  };
}
