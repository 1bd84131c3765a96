import { randomBytes } from "node:crypto";
import { setMaxListeners } from "node:events";
import { setTimeout as delay } from "node:timers/promises";
import { DEMO_STOCK } from "../../launcher/demo-stock.ts";
import { Failure } from "../../shared/failure.ts";
import { CANCELLED, lifecycle } from "../../../src/order/lifecycle.ts";
import { ConveyorClient, RefusedError } from "../client.ts";
import { concurrently } from "../concurrently.ts";
import type { Target } from "../target.ts";
import type { Terminal } from "../../shared/terminal.ts";
import { counted, printable } from "../../shared/text.ts";
import { DEMO_HELP, readDemoOptions, type DemoOptions } from "./options.ts";
import { makeOrders, type DemoOrder } from "./orders.ts";
import { openShow, type Show } from "./show.ts";
import { soldOutLine, stockUp } from "./stock.ts";
import { FAILED, Watch } from "./watch.ts";

const CONNECTIONS = 50;
/** Milliseconds without an answer, or without any progress, after which the demo gives up. */
const PATIENCE = 120_000;
/** Milliseconds between two polls of the orders; longer if polling is slow. */
const POLL_EVERY = 200;

/**
 * `npm run demo`: loads stock, sends generated orders, shows their progress, and prints a summary when all have
 * settled.
 *
 * @returns the exit code.
 * @throws {Failure} for errors that the user can fix; the signal's reason when interrupted.
 */
export async function demo(
  args: readonly string[],
  terminal: Terminal,
  signal: AbortSignal,
  findTarget: () => Target,
): Promise<number> {
  const options = readDemoOptions(args);
  if (!options) {
    terminal.say(DEMO_HELP);
    return 0;
  }
  const target = findTarget();
  const client = new ConveyorClient(target, { connections: CONNECTIONS, patience: PATIENCE, signal });
  const watch = new Watch();
  let show: Show | undefined;
  try {
    await client.greet();
    const orders = await prepare(client, options);
    const title = `Conveyor demo: ${counted(orders.length, "order")} to ${target.url.href}`;
    show = openShow({ terminal, client, watch, title, total: orders.length });
    const began = performance.now();
    const areSettled = await sendAndWatch({ client, orders, watch, show, rate: options.rate, signal });
    show.end();
    terminal.say(summary(watch, (performance.now() - began) / 1_000));
    if (!areSettled)
      throw new Failure(
        `no progress for ${PATIENCE / 1_000} seconds: is a worker running? npm start runs one`,
      );
    return 0;
  } catch (error) {
    show?.end();
    if (signal.aborted)
      terminal.note(`stopped: ${counted(watch.size, "order")} accepted; Conveyor goes on with them`);
    throw error;
  } finally {
    client.close();
  }
}

async function prepare(client: ConveyorClient, { orders: count, seed }: DemoOptions): Promise<DemoOrder[]> {
  const soldOut = await soldOutLine(client, DEMO_STOCK);
  const goods = DEMO_STOCK.filter(({ onHand }) => onHand > 0);
  const run = `demo-${randomBytes(3).toString("hex")}`;
  const orders = makeOrders({ count, seed, goods, soldOut, run });
  await stockUp(client, orders);
  return orders;
}

interface Run {
  readonly client: ConveyorClient;
  readonly orders: readonly DemoOrder[];
  readonly watch: Watch;
  readonly show: Show;
  /** Orders per second. */
  readonly rate: number;
  readonly signal: AbortSignal;
}

/** Sends and watches at once. @returns whether all orders settled; false if they stopped making progress. */
async function sendAndWatch(run: Run): Promise<boolean> {
  const stop = new AbortController();
  const signal = AbortSignal.any([run.signal, stop.signal]);
  setMaxListeners(0, signal);
  let isSending = true;
  try {
    const sending = send({ ...run, signal }).finally(() => (isSending = false));
    const [, areSettled] = await Promise.all([sending, poll({ ...run, signal }, () => isSending)]);
    return areSettled;
  } finally {
    stop.abort();
  }
}

async function send({ client, orders, watch, show, rate, signal }: Run): Promise<void> {
  const began = performance.now();
  await concurrently(orders.entries(), CONNECTIONS, async ([index, order]) => {
    await delay(Math.max(0, began + (index * 1_000) / rate - performance.now()), undefined, { signal });
    try {
      const { order: state } = await client.placeOrder(order.request, order.request.reference);
      show.accepted(watch.add(order, state));
    } catch (error) {
      if (error instanceof RefusedError)
        throw new Failure(`order ${order.request.reference} was ${error.message}`);
      throw error;
    }
  });
}

async function poll({ client, watch, show, signal }: Run, isSending: () => boolean): Promise<boolean> {
  let movedAt = performance.now();
  for (;;) {
    const began = performance.now();
    const allSent = !isSending();
    const moved = [];
    if (watch.oldest !== undefined)
      for await (const page of client.orders(watch.oldest))
        for (const state of page) moved.push(...watch.see(state));
    await show.moved(moved);
    if (allSent && watch.isSettled) return true;
    const now = performance.now();
    if (moved.length > 0 || !allSent) movedAt = now;
    if (now - movedAt > PATIENCE) return false;
    await delay(Math.max(POLL_EVERY, (now - began) * 2), undefined, { signal });
  }
}

/** `60 orders in 14.2 s: 51 DELIVERED, 9 CANCELLED (5 sold out, 4 payment declined)` */
function summary(watch: Watch, seconds: number): string {
  const reasons = new Map<string, number>();
  for (const { state } of watch.orders) {
    const reason = state.status === CANCELLED && state.cancellation?.reason.split(":")[0];
    if (reason) reasons.set(reason, (reasons.get(reason) ?? 0) + 1);
  }
  const counts = watch.counts();
  const parts = [...lifecycle.statuses, FAILED].flatMap((status) => {
    const count = counts.get(status);
    if (count === undefined) return [];
    const why = Array.from(reasons, ([reason, those]) => `${those} ${printable(reason)}`).join(", ");
    return [`${count} ${status}${status === CANCELLED && why ? ` (${why})` : ""}`];
  });
  return `${counted(watch.size, "order")} in ${seconds.toFixed(1)} s: ${parts.join(", ")}`;
}
