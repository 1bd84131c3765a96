import { setTimeout as delay } from "node:timers/promises";
import { lifecycle } from "../../../src/order/lifecycle.ts";
import { isAtRest, type ConveyorClient, type OrderState } from "../client.ts";
import { concurrently } from "../concurrently.ts";

const LEAST_PAUSE = 500;
/** Asking may take up to one part in so many of the time: the service has the orders themselves to work on. */
const SHARE = 5;

const LIVE_STATUSES = lifecycle.statuses.filter((status) => !lifecycle.hasEnded(status));

/**
 * Waits until all of the wanted orders are at rest, by looking again and again for those that are not.
 *
 * @param oldest the lowest order id that is wanted; the walk goes no further down.
 * @param patience milliseconds without any movement after which waiting makes no sense.
 * @returns whether they are all at rest; false when patience ended.
 */
export async function untilAtRest(
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
  let before: Look | undefined;
  let movedAt = performance.now();
  for (;;) {
    const began = performance.now();
    const moving = await countMoving(client, oldest, isWanted);
    const count = moving.reduce((sum, { orders }) => sum + orders, 0);
    onMoving(count);
    if (count === 0) return true;
    const look = {
      count,
      ended: performance.now(),
      took: performance.now() - began,
      seen: JSON.stringify(moving),
    };
    if (look.seen !== before?.seen) movedAt = look.ended;
    if (look.ended - movedAt > patience) return false;
    await delay(pauseAfter(look, before), undefined, { signal });
    before = look;
  }
}

interface Look {
  /** Orders on their way. */
  readonly count: number;
  /** All that was seen, to compare. */
  readonly seen: string;
  /** When the look was over, and how long it took, in milliseconds. */
  readonly ended: number;
  readonly took: number;
}

/** Long enough to leave the service to its orders, and not much beyond their end as it can be foreseen. */
function pauseAfter(look: Look, before: Look | undefined): number {
  const fair = look.took * (SHARE - 1);
  if (!before) return Math.max(LEAST_PAUSE, look.took);
  const toRest = before.count - look.count;
  const foreseen = toRest > 0 ? ((look.ended - before.ended) / toRest) * look.count : fair * 2;
  return Math.max(LEAST_PAUSE, Math.min(fair, foreseen / 2));
}

/**
 * How many of the wanted orders are in each status and not at rest, and the last time one of them moved.
 *
 * The statuses are walked in the order of the lifecycle. An order only moves forward, so that one which leaves a status
 * before the walk comes to it is found in a later one: an order that was seen nowhere has ended.
 */
export async function countMoving(
  client: Pick<ConveyorClient, "orders">,
  oldest: string,
  isWanted: (state: OrderState) => boolean,
): Promise<{ status: string; orders: number; latest: string }[]> {
  const moving: { status: string; orders: number; latest: string }[] = [];
  for (const status of LIVE_STATUSES) {
    let orders = 0;
    let latest = "";
    for await (const page of client.orders(oldest, status))
      for (const state of page)
        if (isWanted(state) && !isAtRest(state)) {
          orders += 1;
          if (state.updatedAt > latest) latest = state.updatedAt;
        }
    moving.push({ status, orders, latest });
  }
  return moving;
}

/**
 * How these orders stand now; one that the service does not know is missing from the answer.
 * @param recent ids of orders that were made lately: they are read from the list, newest first.
 * @param old ids of orders of any age: they are read one by one.
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

/** The lowest of some order ids, which sort by time; "" of none. */
export function oldestOf(ids: Iterable<string>): string {
  let oldest: string | undefined;
  for (const id of ids) if (oldest === undefined || id < oldest) oldest = id;
  return oldest ?? "";
}
