import { readFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { instant, number } from "../chaos/sql.ts";
import { readArguments, numberOption } from "../shared/options.ts";
import { percentile } from "../shared/percentile.ts";
import { runAsProcess, type Terminal } from "../shared/terminal.ts";
import { closing } from "./context.ts";
import { StreamClient } from "./live/stream-client.ts";
import { API_KEY, Shop } from "./shop.ts";
import { TestBed } from "./test-bed.ts";
import { makeOrders } from "./workload.ts";

const OPENED_AT_ONCE = 50;
/** Orders sent one after another, at this interval. */
const ORDERS = 40;
const ORDER_EVERY_MS = 500;
const SETTLE_MS = 5_000;
const QUIET_MS = 10_000;
const MIB = 2 ** 20;

/** When an event reached the listeners, in milliseconds since 1970. */
interface Arrival {
  readonly first: number;
  last: number;
  count: number;
}

/**
 * `node --import tsx tools/bench/listeners.ts [--listeners N]`: measures many listeners on one API process: the
 * memory and MySQL statements they cost, and how late the last one gets an event.
 */
async function listeners(args: readonly string[], terminal: Terminal, signal: AbortSignal): Promise<number> {
  const { values } = readArguments("tools/bench/listeners", {
    args: [...args],
    options: { listeners: { type: "string", default: "2000" } },
  });
  const count = numberOption("listeners", values.listeners, { least: 1, most: 9_000 });
  await closing(async (closers) => {
    const testBed = closers.add(await TestBed.open(signal), async (bed) => void (await bed.close(false)));
    const shop = await Shop.open({ testBed, closers }, { name: "listeners" });
    await Promise.all([shop.startApi(), shop.startWorkers()]);
    await listen(shop, count, terminal, signal);
  });
  return 0;
}

async function listen(shop: Shop, count: number, terminal: Terminal, signal: AbortSignal): Promise<void> {
  const arrivals = new Map<number, Arrival>();
  const onEvent = (id: number) => {
    const now = performance.timeOrigin + performance.now();
    const arrival = arrivals.get(id);
    if (arrival) {
      arrival.last = now;
      arrival.count++;
    } else arrivals.set(id, { first: now, last: now, count: 1 });
  };
  const clients: StreamClient[] = [];
  const open = async (wanted: number) => {
    while (clients.length < wanted) {
      signal.throwIfAborted();
      const batch = Math.min(OPENED_AT_ONCE, wanted - clients.length);
      const opened = Array.from({ length: batch }, () =>
        StreamClient.open(shop.port, "/events/stream", API_KEY, onEvent),
      );
      clients.push(...(await Promise.all(opened)));
    }
  };

  // Warm up before measuring memory.
  await open(10);
  await sendOrders(shop, 5, signal);
  await delay(SETTLE_MS, undefined, { signal });
  const before = residentBytes(shop.api.pid);
  const quiet = await mysqlQuestions(shop, signal);
  const openedAt = performance.now();
  await open(count);
  const openedMs = performance.now() - openedAt;
  await delay(SETTLE_MS, undefined, { signal });
  const idle = residentBytes(shop.api.pid);
  const listening = await mysqlQuestions(shop, signal);

  arrivals.clear();
  await sendOrders(shop, ORDERS, signal);
  await delay(SETTLE_MS, undefined, { signal });
  const busy = residentBytes(shop.api.pid);
  const complete = [...arrivals.values()].filter((arrival) => arrival.count === count);
  const spread = complete.map(({ first, last }) => last - first).toSorted((one, other) => one - other);
  const rows = await shop.sql.rows("SELECT id, at FROM order_events");
  const late = rows
    .flatMap((row) => {
      const arrival = arrivals.get(number(row["id"]));
      return arrival ? [arrival.last - instant(row["at"])] : [];
    })
    .toSorted((one, other) => one - other);
  terminal.say(`listeners                        ${count}, opened in ${(openedMs / 1_000).toFixed(1)} s`);
  terminal.say(`still connected at the end       ${clients.filter(({ isOpen }) => isOpen).length}`);
  terminal.say(`API memory before                ${mib(before)}`);
  terminal.say(`  with all listeners, idle       ${mib(idle)}, ${kib((idle - before) / count)} each`);
  terminal.say(`  with all listeners, busy       ${mib(busy)}, ${kib((busy - before) / count)} each`);
  terminal.say(
    `MySQL statements in ${QUIET_MS / 1_000} s         ${quiet} with 10 listeners, ${listening} with all`,
  );
  terminal.say(
    `events                           ${arrivals.size}, of which ${complete.length} reached every listener exactly once`,
  );
  terminal.say(
    `from first to last listener      p50 ${ms(percentile(spread, 0.5))}, p99 ${ms(percentile(spread, 0.99))}, worst ${ms(spread.at(-1) ?? NaN)}`,
  );
  terminal.say(
    `from event to last listener      p50 ${ms(percentile(late, 0.5))}, p99 ${ms(percentile(late, 0.99))}, worst ${ms(late.at(-1) ?? NaN)}`,
  );
  for (const client of clients) client.close();
}

/** One order at a time. */
async function sendOrders(shop: Shop, orders: number, signal: AbortSignal): Promise<void> {
  for (const order of makeOrders(orders, Date.now() % 2 ** 31)) {
    const answer = await fetch(`http://127.0.0.1:${shop.port}/orders`, {
      method: "POST",
      headers: { authorization: `Bearer ${API_KEY}`, "content-type": "application/json" },
      body: JSON.stringify(order),
      signal,
    });
    if (answer.status !== 202) throw new Error(`an order got a ${answer.status}`);
    await answer.arrayBuffer();
    await delay(ORDER_EVERY_MS, undefined, { signal });
  }
}

/** Statements that MySQL gets while nothing happens, including the workers'. */
async function mysqlQuestions(shop: Shop, signal: AbortSignal): Promise<number> {
  const count = async () => {
    const [row] = await shop.sql.rows("SHOW GLOBAL STATUS LIKE 'Questions'");
    return Number(row?.["Value"]);
  };
  const before = await count();
  await delay(QUIET_MS, undefined, { signal });
  return (await count()) - before;
}

function residentBytes(pid: number): number {
  return Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]) * 1_024;
}

const mib = (bytes: number) => `${(bytes / MIB).toFixed(0)} MiB`;
const kib = (bytes: number) => `${(bytes / 1_024).toFixed(1)} KiB`;
const ms = (milliseconds: number) => `${milliseconds.toFixed(1)} ms`;

void runAsProcess(listeners);
