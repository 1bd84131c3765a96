import { setTimeout as delay } from "node:timers/promises";
import { lifecycle } from "../../../src/order/lifecycle.ts";
import { isSettled, type ConveyorClient, type OrderState } from "../client.ts";
import { concurrently } from "../concurrently.ts";

/** Milliseconds. */
const MIN_PAUSE = 500;
/** Polling may take up to 1/SHARE of the time, to leave the service to its orders. */
const SHARE = 5;

const liveStatuses = () => lifecycle.statuses.filter((status) => !lifecycle.hasEnded(status));

/**
 * Polls until all of the wanted orders have settled.
 *
 * @param oldest the lowest wanted order id, where reading stops.
 * @param patience milliseconds without progress after which to give up.
 * @returns whether all have settled; false if patience ran out.
 */
export async function untilSettled(
  client: ConveyorClient,
  {
    oldest,
    isWanted,
    patience,
    signal,
    onMoving,
  }: {
    oldest: string;
    isWanted: (state: OrderState) => boolean;
    patience: number;
    signal: AbortSignal;
    onMoving: (count: number) => void;
  },
): Promise<boolean> {
  let before: Poll | undefined;
  let movedAt = performance.now();
  for (;;) {
    const began = performance.now();
    const moving = await countMoving(client, oldest, isWanted);
    const count = moving.reduce((sum, { orders }) => sum + orders, 0);
    onMoving(count);
    if (count === 0) return true;
    const poll = {
      count,
      ended: performance.now(),
      took: performance.now() - began,
      seen: JSON.stringify(moving),
    };
    if (poll.seen !== before?.seen) movedAt = poll.ended;
    if (poll.ended - movedAt > patience) return false;
    await delay(pauseAfter(poll, before), undefined, { signal });
    before = poll;
  }
}

interface Poll {
  /** Orders in progress. */
  readonly count: number;
  /** Everything seen, for comparison. */
  readonly seen: string;
  /** When the poll ended and how long it took, in milliseconds. */
  readonly ended: number;
  readonly took: number;
}

/** Milliseconds to wait: long enough not to burden the service, but not far past the orders' estimated end. */
function pauseAfter(poll: Poll, before: Poll | undefined): number {
  const fair = poll.took * (SHARE - 1);
  if (!before) return Math.max(MIN_PAUSE, poll.took);
  const settled = before.count - poll.count;
  const estimated = settled > 0 ? ((poll.ended - before.ended) / settled) * poll.count : fair * 2;
  return Math.max(MIN_PAUSE, Math.min(fair, estimated / 2));
}

/**
 * Counts the wanted orders in each status that have not settled, with the time the latest of them changed.
 *
 * Reads the statuses in lifecycle order. Orders only move forward, so an order that leaves a status before it
 * is read shows up in a later one; an order seen nowhere has ended.
 */
export async function countMoving(
  client: Pick<ConveyorClient, "orders">,
  oldest: string,
  isWanted: (state: OrderState) => boolean,
): Promise<{ status: string; orders: number; latest: string }[]> {
  const moving: { status: string; orders: number; latest: string }[] = [];
  for (const status of liveStatuses()) {
    let orders = 0;
    let latest = "";
    for await (const page of client.orders(oldest, status))
      for (const state of page)
        if (isWanted(state) && !isSettled(state)) {
          orders += 1;
          if (state.updatedAt > latest) latest = state.updatedAt;
        }
    moving.push({ status, orders, latest });
  }
  return moving;
}

/**
 * Reads the orders' current states. Orders that the service does not know are missing from the result.
 * @param recent ids of recent orders, read from the list, newest first.
 * @param old ids of orders of any age, read one by one.
 */
export async function readStates(
  client: ConveyorClient,
  recent: ReadonlySet<string>,
  old: Iterable<string>,
  concurrency: number,
  onRead: (done: number) => void,
): Promise<Map<string, OrderState>> {
  const states = new Map<string, OrderState>();
  const keep = (state: OrderState) => {
    states.set(state.id, state);
    onRead(states.size);
  };
  if (recent.size > 0)
    for await (const page of client.orders(oldestOf(recent)))
      for (const state of page) if (recent.has(state.id)) keep(state);
  await concurrently(old, concurrency, async (id) => {
    const state = await client.order(id);
    if (state) keep(state);
  });
  return states;
}

/** The lowest order id, that is, the oldest; "" if there are none. */
export function oldestOf(ids: Iterable<string>): string {
  let oldest: string | undefined;
  for (const id of ids) if (oldest === undefined || id < oldest) oldest = id;
  return oldest ?? "";
}
