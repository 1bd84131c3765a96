import { text } from "../chaos/sql.ts";
import { table } from "../shared/table.ts";
import { runAsProcess, type Terminal } from "../shared/terminal.ts";
import { Failure } from "../shared/failure.ts";
import { copyOrders } from "./history.ts";
import { closing } from "./context.ts";
import { API_KEY, Shop } from "./shop.ts";
import { TestBed } from "./test-bed.ts";
import { ratioOf, spreadOf, type Spread } from "./statistics.ts";

/*
 * node --import tsx tools/bench/pages.ts [ORDERS [COPIES]]
 *
 * Compares the response time of every console page and listing with a million orders and with ten thousand.
 * Both shops run at the same time and are queried in turn, so that other load affects both.
 */

const ORDERS = 10_000;
const COPIES = 100;
const WARM_UP = 5;
const TIMES = 40;
const WITHIN_MS = 1_800_000;

/** The statuses in a shop that has been open for long: most orders have ended, some have failed. */
const STATUSES = `CASE
  WHEN CRC32(id) % 1000 < 900 THEN 'DELIVERED' WHEN CRC32(id) % 1000 < 950 THEN 'CANCELLED'
  WHEN CRC32(id) % 1000 < 975 THEN 'SHIPPED' WHEN CRC32(id) % 1000 < 990 THEN 'RESERVED'
  WHEN CRC32(id) % 1000 < 995 THEN 'PAID' ELSE 'CREATED' END`;

/** The requests. Names in capitals are replaced by values from the shop. */
const REQUESTS: readonly (readonly [name: string, address: string])[] = [
  ["overview", "/console"],
  ["overview, the last hour", "/console/history"],
  ["orders", "/console/orders"],
  ["orders, in the middle", "/console/orders?before=MIDDLE"],
  ["orders, back from the middle", "/console/orders?after=MIDDLE"],
  ["orders of a status", "/console/orders?status=DELIVERED"],
  ["orders of a status, in the middle", "/console/orders?status=DELIVERED&before=MIDDLE"],
  ["orders of a rare status, in the middle", "/console/orders?status=CREATED&before=MIDDLE"],
  ["orders of a customer", "/console/orders?customer=CUSTOMER"],
  ["orders of a customer and a status", "/console/orders?customer=CUSTOMER&status=CANCELLED"],
  ["orders of a reference", "/console/orders?reference=REFERENCE"],
  ["orders that failed", "/console/orders?failed=yes"],
  ["orders that failed, in the middle", "/console/orders?failed=yes&before=MIDDLE"],
  ["orders of a status that failed", "/console/orders?status=RESERVED&failed=yes"],
  ["orders of a status that did not fail", "/console/orders?status=RESERVED&failed=no&before=MIDDLE"],
  ["orders of the last day", "/console/orders?age=%3C24h"],
  ["search by reference", "/console/orders?q=REFERENCE"],
  ["search without a match", "/console/orders?q=nobody"],
  ["one order", "/console/orders/MIDDLE"],
  ["failures", "/console/failures"],
  ["failures, a group to resume", "/console/failures/resume?stage=pay&reason=card+refused"],
  ["queues", "/console/queues"],
  ["actions", "/console/actions"],
  ["webhooks", "/console/webhooks"],
  ["GET /orders", "/orders"],
  ["GET /orders, in the middle", "/orders?cursor=CURSOR"],
  ["GET /orders?status", "/orders?status=DELIVERED"],
  ["GET /orders?status, in the middle", "/orders?status=DELIVERED&cursor=CURSOR"],
  ["GET /orders?customerId", "/orders?customerId=CUSTOMER"],
  ["GET /orders?reference", "/orders?reference=REFERENCE"],
  ["GET /orders?failed=true", "/orders?failed=true"],
  ["GET /orders?status&failed=false, in the middle", "/orders?status=RESERVED&failed=false&cursor=CURSOR"],
  ["GET /orders/{id}", "/orders/MIDDLE"],
];

async function pages(args: readonly string[], terminal: Terminal, signal: AbortSignal): Promise<number> {
  const [orders = ORDERS, copies = COPIES] = args.map(Number);
  await closing(async (closers) => {
    const testBed = closers.add(await TestBed.open(signal), async (bed) => void (await bed.close(false)));
    const small = await Shop.open({ testBed, closers }, { name: "small" });
    const large = await Shop.open({ testBed, closers }, { name: "large" });
    await fill(small, orders);
    terminal.note(`${orders} orders placed; copying them ${copies} times`);
    await copyOrders(large.sql, { from: small.databaseName, to: large.databaseName, copies });
    await Promise.all([small.startApi(), large.startApi()]);
    terminal.note("measuring");
    const rows: string[][] = [];
    const [fewer, more] = [await valuesOf(small), await valuesOf(large)];
    for (const [name, address] of REQUESTS) {
      signal.throwIfAborted();
      const times = await timesOf([
        () => ask(small, filled(address, fewer)),
        () => ask(large, filled(address, more)),
      ]);
      terminal.note(`${name}: ${shown(times[0])} and ${shown(times[1])} ms`);
      rows.push([name, shown(times[0]), shown(times[1]), ratioOf(times[1], times[0]).median.toFixed(2)]);
    }
    const counts = await Promise.all([small, large].map((shop) => shop.orders.count()));
    const head = ["", ...counts.map((count) => `${count} orders, ms`), "ratio"];
    for (const line of table(head, rows)) terminal.say(line);
  });
  return 0;
}

/** Makes orders with events but without jobs. */
async function fill(shop: Shop, orders: number): Promise<void> {
  await shop.placeOrders(orders);
  const say = (statement: string) => shop.sql.rows(statement, [], WITHIN_MS);
  await say(`UPDATE orders SET status = ${STATUSES}`);
  for (const [from, to, stage] of [
    ["CREATED", "RESERVED", "reserve"],
    ["RESERVED", "PAID", "pay"],
    ["PAID", "SHIPPED", "ship"],
    ["SHIPPED", "DELIVERED", "deliver"],
  ])
    await say(`INSERT INTO order_events (order_id, type, from_status, to_status, stage, at, attempt, started_at)
      SELECT id, 'status', '${from}', '${to}', '${stage}', created_at, 1, created_at FROM orders
       WHERE status <> 'CREATED'`);
  await say(`UPDATE orders SET failed_stage = 'pay', failed_at = updated_at,
      failed_reason = ELT(1 + CRC32(id) % 3, 'card refused', 'no answer', 'a number that nobody knows')
     WHERE status = 'RESERVED' AND CRC32(id) % 2 = 0`);
  await say(`UPDATE orders SET failed_stage = 'ship', failed_at = updated_at, failed_reason = 'no such street'
     WHERE status = 'PAID' AND CRC32(id) % 2 = 0`);
}

/** The values that replace the names. */
async function valuesOf({ sql }: Shop): Promise<Readonly<Record<string, string>>> {
  const [count] = await sql.rows("SELECT FLOOR(COUNT(*) / 2) AS half FROM orders", [], WITHIN_MS);
  const [order] = await sql.rows(
    "SELECT id, customer_id, reference FROM orders ORDER BY id LIMIT 1 OFFSET ?",
    [Number(count?.["half"])],
    WITHIN_MS,
  );
  const id = text(order?.["id"]);
  return {
    MIDDLE: id,
    CURSOR: Buffer.from(id).toString("base64url"),
    CUSTOMER: text(order?.["customer_id"]),
    REFERENCE: text(order?.["reference"]),
  };
}

function filled(address: string, values: Readonly<Record<string, string>>): string {
  return Object.entries(values).reduce((filling, [name, value]) => filling.replace(name, value), address);
}

/** Milliseconds per request, in turns. */
async function timesOf(
  asked: readonly [() => Promise<void>, () => Promise<void>],
): Promise<readonly [Spread, Spread]> {
  const times: [number[], number[]] = [[], []];
  for (let time = -WARM_UP; time < TIMES; time++) {
    for (const [index, question] of asked.entries()) {
      const began = performance.now();
      await question();
      if (time >= 0) times[index]?.push(performance.now() - began);
    }
  }
  return [spreadOf(times[0]), spreadOf(times[1])];
}

/** @throws {Failure} for a status of 400 or more */
async function ask(shop: Shop, address: string): Promise<void> {
  const answer = await fetch(`http://127.0.0.1:${shop.port}${address}`, {
    headers: { authorization: `Bearer ${API_KEY}` },
    redirect: "manual",
  });
  await answer.arrayBuffer();
  if (answer.status >= 400) throw new Failure(`${address} answered ${answer.status}`);
}

function shown({ median }: Spread): string {
  return median.toFixed(1);
}

void runAsProcess(pages);
