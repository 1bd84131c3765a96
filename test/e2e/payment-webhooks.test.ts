import { describe, expect, test } from "@jest/globals";
import { and, asc, count, eq, inArray, isNotNull, ne } from "drizzle-orm";
import pLimit from "p-limit";
import { listPayments } from "../../db/payments.ts";
import { wakeRefunds } from "../../db/refunds.ts";
import * as schema from "../../db/schema.ts";
import { groupBy } from "../../src/platform/group-by.ts";
import {
  CAPTURED_ON_SHIPMENT,
  call,
  closeShop,
  happens,
  openShop,
  place,
  refund,
  sendWebhook,
  type Shop,
} from "../support/stripe-shop.ts";
import { waitFor } from "../support/wait-for.ts";

/*
 * Every permutation of early, late, doubled and missing webhooks around authorization, capture and refund. Stripe's own
 * webhooks are off: each order gets those of its schedule, between the same three steps.
 */

/** The steps of every order, and the webhooks about them: of the authorization, the capture and the refund. */
const STEPS = ["authorize", "capture", "refund"] as const;
type Step = (typeof STEPS)[number];
type Webhook = `${Step} webhook`;
type Schedule = readonly (Step | Webhook)[];

function before(first: Step | Webhook, rest: Schedule): Schedule {
  return [first, ...rest];
}

/** Every sequence of the steps, in their order, and so many webhooks of each, in any. */
function schedulesWith(left: Readonly<Record<Step, number>>, steps: readonly Step[] = STEPS): Schedule[] {
  const next = STEPS.filter((step) => left[step] > 0).flatMap((step) =>
    schedulesWith({ ...left, [step]: left[step] - 1 }, steps).map((rest) => before(`${step} webhook`, rest)),
  );
  const [step, ...others] = steps;
  if (step === undefined) return next.length > 0 ? next : [[]];
  return [...next, ...schedulesWith(left, others).map((rest) => before(step, rest))];
}

const COUNTS = [0, 1, 2].flatMap((authorize) =>
  [0, 1, 2].flatMap((capture) => [0, 1, 2].map((refunded) => ({ authorize, capture, refund: refunded }))),
);
const EACH_ONCE = schedulesWith({ authorize: 1, capture: 1, refund: 1 });

const MOST_IN_EVERY_ORDER = 3;

/** How so many webhooks of one kind may be spread over the moments before, between and after the steps. */
function spreads(times: number, moments = STEPS.length + 1): number[][] {
  if (moments === 1) return [[times]];
  const all: number[][] = [];
  for (let now = 0; now <= times; now++)
    for (const later of spreads(times - now, moments - 1)) all.push([now, ...later]);
  return all;
}

/** A schedule with so many webhooks about the payment, and about its refund, at each moment. */
function scheduleOf(about: readonly number[], refunds: readonly number[]): Schedule {
  const all: (Step | Webhook)[] = [];
  for (const [moment, step] of [...STEPS, undefined].entries()) {
    for (let sent = 0; sent < (about[moment] ?? 0); sent++)
      all.push(sent % 2 === 0 ? "authorize webhook" : "capture webhook");
    for (let sent = 0; sent < (refunds[moment] ?? 0); sent++) all.push("refund webhook");
    if (step !== undefined) all.push(step);
  }
  return all;
}

/**
 * Four to all six webhooks, twice each at most, at any moments. Those that are the same to whoever receives them are sent once: a
 * webhook about the authorization has the same payment looked at as one about the capture, and of several between two steps
 * the order does not matter, as the schedules of up to three show.
 */
function* largeSchedules(): Generator<Schedule> {
  for (let about = 0; about <= 4; about++)
    for (let refunds = 0; refunds <= 2; refunds++) {
      if (about + refunds <= MOST_IN_EVERY_ORDER) continue;
      for (const payment of spreads(about))
        for (const refunded of spreads(refunds)) yield scheduleOf(payment, refunded);
    }
}

/**
 * Each webhook missing, early, in time, late, or twice at any two moments, at most three of them in all, in every order;
 * and all three of them sent twice at any moment.
 */
const SMALL: readonly Schedule[] = [
  ...COUNTS.filter(
    ({ authorize, capture, refund: refunded }) => authorize + capture + refunded <= MOST_IN_EVERY_ORDER,
  )
    .filter((counts) => Object.values(counts).filter((times) => times === 2).length <= 1)
    .flatMap((counts) => schedulesWith(counts)),
  ...EACH_ONCE.map((schedule) =>
    schedule.flatMap((each) => (each.endsWith(" webhook") ? [each, each] : [each])),
  ),
];
const LARGE: readonly Schedule[] = [...largeSchedules()];

interface Placed {
  readonly id: string;
  readonly schedule: Schedule;
  /** At Stripe; null before it is known. */
  readonly paymentId: string | null;
}

const TYPES: Readonly<Record<Webhook, string>> = {
  "authorize webhook": "payment_intent.amount_capturable_updated",
  "capture webhook": "payment_intent.succeeded",
  "refund webhook": "refund.updated",
};

/** The simulated providers live in this process: it must not be too busy to answer. */
const limited = pLimit(16);
const RARELY = { timeoutMs: 240_000, everyMs: 200 };
const atOnce = (all: readonly Placed[], work: (order: Placed) => Promise<unknown>) =>
  Promise.all(all.map((order) => limited(() => work(order))));

/** An order's webhooks between two of its steps. */
function between({ schedule }: Placed, from: Step | undefined, to: Step | undefined): Webhook[] {
  const begin = from === undefined ? 0 : schedule.indexOf(from) + 1;
  const end = to === undefined ? schedule.length : schedule.indexOf(to);
  return schedule.slice(begin, end).filter((each): each is Webhook => each.endsWith(" webhook"));
}

/** Sends each order's webhooks one after the other. @returns the orders that got some. */
async function sendBetween(
  shop: Shop,
  all: readonly Placed[],
  from: Step | undefined,
  to: Step | undefined,
): Promise<readonly Placed[]> {
  const told = all.filter((order) => between(order, from, to).length > 0);
  await atOnce(told, async (order) => {
    for (const webhook of between(order, from, to)) {
      const intent = order.paymentId ?? "pi_unknown";
      const about = webhook === "refund webhook" ? { id: "re_1", payment_intent: intent } : { id: intent };
      // It claims to be late, whenever it comes: nothing that it says may be believed.
      const object = { ...about, status: "succeeded", metadata: { order_id: order.id } };
      expect((await sendWebhook(shop, TYPES[webhook], object)).status).toBe(204);
    }
  });
  return told;
}

/** What is looked at every few minutes is looked at now: for those whose webhook was early, or is missing. */
async function minutesPass(shop: Shop): Promise<void> {
  const { database } = shop.environment;
  const waiting = await database.query((queries) =>
    queries.select({ id: schema.orders.id }).from(schema.orders).where(isNotNull(schema.orders.waitingStage)),
  );
  const pending = await database.query((queries) =>
    queries
      .select({ id: schema.refunds.orderId })
      .from(schema.refunds)
      .where(eq(schema.refunds.state, "PENDING")),
  );
  await Promise.all([
    ...waiting.map(({ id }) => limited(() => call(shop, "POST", `/orders/${id}/wake`))),
    ...pending.map(({ id }) => limited(() => wakeRefunds(database, id))),
  ]);
}

async function untilIn(shop: Shop, wanted: readonly Placed[], status: string): Promise<void> {
  let left = wanted.map(({ id }) => id);
  const areThere = async () => {
    if (left.length === 0) return true;
    const there = await shop.environment.database.query((queries) =>
      queries
        .select({ id: schema.orders.id })
        .from(schema.orders)
        .where(and(eq(schema.orders.status, status), inArray(schema.orders.id, left))),
    );
    const found = new Set(there.map(({ id }) => id));
    left = left.filter((id) => !found.has(id));
    return left.length === 0;
  };
  await waitFor(`${wanted.length} orders to be ${status}`, areThere, RARELY);
}

async function withPayments(shop: Shop, all: readonly Placed[]): Promise<Placed[]> {
  const payments = await listPayments(
    shop.environment.database,
    all.map(({ id }) => id),
  );
  const known = new Map(payments.map(({ orderId, providerId }) => [orderId, providerId]));
  return all.map((order) => ({ ...order, paymentId: known.get(order.id) ?? null }));
}

test("the schedules are all that there are", () => {
  // Of n webhooks among three steps: n of (3 + n) places, and the webhooks in every order that can be told apart.
  const upToThree = 1 + 3 * 4 + 3 * 20 + 120 + 3 * (10 + 2 * 60);
  // n of one kind are spread over four moments in (n + 3) over 3 ways.
  const [one, two, three, four] = [4, 10, 20, 35] as const;
  const larger = four + three * one + two * two + (four * one + three * two) + four * two;
  expect(SMALL).toHaveLength(upToThree + EACH_ONCE.length);
  expect(LARGE).toHaveLength(larger);
  expect(new Set([...SMALL, ...LARGE].map((schedule) => schedule.join())).size).toBe(
    SMALL.length + LARGE.length,
  );
});

/** Each large schedule takes place with one of the two. */
describe.each([
  ["that a customer confirms", "pm_card_authenticationRequired", 0],
  ["that are refunded in a bank's own time", "pm_card_pendingRefund", 1],
])("payments %s", (_what, token, half) => {
  const schedules = [...SMALL, ...LARGE.filter((_, index) => index % 2 === half)];

  test("are captured once, refunded once and told once, whatever webhooks come when", async () => {
    const isConfirmed = token === "pm_card_authenticationRequired";
    const first = "deliver,cancel";
    const shop = await openShop(
      { PAYMENT_CAPTURE: "on-shipment", LOG_LEVEL: "warn" },
      { stages: isConfirmed ? `reserve,pay,${first}` : first, concurrency: 10 },
    );
    const { database, providers } = shop.environment;
    providers.setWebhooks({ lost: 1 });
    try {
      let all: readonly Placed[] = await Promise.all(
        schedules.map((schedule) =>
          limited(async () => ({ id: await place(shop, token), schedule, paymentId: null })),
        ),
      );
      if (isConfirmed) {
        await waitFor(
          "all to wait for their customers",
          async () => (await waitingIn(shop)) === all.length,
          RARELY,
        );
        all = await withPayments(shop, all);
      }
      await sendBetween(shop, all, undefined, "authorize");
      if (isConfirmed) await atOnce(all, ({ paymentId }) => happens(shop, paymentId, "authenticate"));
      else {
        await shop.addWorker("reserve,pay");
        await untilIn(shop, all, "PAID");
        all = await withPayments(shop, all);
      }
      // Any webhook about a payment has it looked at.
      await untilIn(shop, await sendBetween(shop, all, "authorize", "capture"), "PAID");
      await minutesPass(shop);
      await untilIn(shop, all, "PAID");
      await shop.addWorker("ship");
      await untilIn(shop, all, "DELIVERED");
      await sendBetween(shop, all, "capture", "refund");
      await atOnce(all, async ({ id }) => {
        expect((await refund(shop, id, { amount: 1_000 })).status).toBe(202);
      });
      await waitFor("all to be refunded", () => providers.books.refunds.length >= all.length, RARELY);
      await sendBetween(shop, all, "refund", undefined);
      await minutesPass(shop);
      await waitFor("all refunds to be known", async () => (await pendingIn(shop)) === 0, RARELY);

      const events = groupBy(
        await database.query((queries) =>
          queries
            .select()
            .from(schema.orderEvents)
            .where(ne(schema.orderEvents.type, "waiting"))
            .orderBy(asc(schema.orderEvents.id)),
        ),
        ({ orderId }) => orderId,
      );
      const charged = groupBy(providers.books.charges, ({ orderId }) => orderId);
      const paidBack = groupBy(providers.books.refunds, ({ orderId }) => orderId);
      const told = new Map<string, string[]>();
      for (const { id, schedule } of all) {
        const story = JSON.stringify({
          events: events
            .get(id)
            ?.map(({ type, toStatus, reason }) =>
              type === "status" ? toStatus : type === "attempt-failed" ? `failed: ${reason}` : type,
            ),
          charged: charged.get(id)?.map(({ amount }) => amount),
          refunded: paidBack.get(id)?.map(({ amount }) => amount),
        });
        told.set(story, [...(told.get(story) ?? []), schedule.join(", ")]);
      }
      // One story for all of them; the schedules of any other would be named here.
      expect([...told].map(([story, alike]) => [JSON.parse(story), alike.length])).toEqual([
        [
          {
            events: [
              ...CAPTURED_ON_SHIPMENT.filter((type) => isConfirmed || type !== "payment.pending"),
              "refund.created",
              "refund.succeeded",
            ],
            charged: [3_000],
            refunded: [1_000],
          },
          schedules.length,
        ],
      ]);
    } finally {
      await closeShop(shop);
    }
  }, 600_000);
});

async function pendingIn({ environment }: Shop): Promise<number> {
  const [found] = await environment.database.query((queries) =>
    queries.select({ refunds: count() }).from(schema.refunds).where(ne(schema.refunds.state, "SUCCEEDED")),
  );
  return found?.refunds ?? 0;
}

async function waitingIn({ environment }: Shop): Promise<number> {
  const [found] = await environment.database.query((queries) =>
    queries.select({ orders: count() }).from(schema.orders).where(isNotNull(schema.orders.waitingStage)),
  );
  return found?.orders ?? 0;
}
