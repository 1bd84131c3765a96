import { v7 as uuidv7 } from "uuid";
import { insertEvents, type NewOrderEvent } from "../../db/order-events.ts";
import { orderLines, orders } from "../../db/schema.ts";
import { addCounts, minuteOf, noCounts, type StepCounts } from "../../queues/telemetry/minute-counts.ts";
import { CREATED, lifecycle } from "../../src/order/lifecycle.ts";
import { PIPELINE } from "../../src/order/pipeline.ts";
import { totalOf, type NewOrder, type OrderLine } from "../../src/order/order.ts";
import type { TestLine } from "./line.ts";
import { NOTHING_MORE } from "./orders.ts";

/*
 * A shop as pages are to be looked at: names as people have them, texts as long as may be, an hour's work, and whatever
 * can go wrong. Nothing here is random, so that pictures can be compared.
 */

/** Would be markup if a page took it for that. */
export const HOSTILE = `"><img src=x onerror=alert(1)><script>alert(1)</script>`;

const CUSTOMERS = [
  "Müller & Söhne GmbH, Zürich",
  "anais.o'connor@example.org",
  "株式会社サンプル商事",
  "مكتبة النور",
  "Łódź Café „Pod Aniołem”",
  "cust-8f14e45fceea467a9575c1bde2f7d1c4a0e6b1b2c3d4e5f60718293a4",
  "cust-20417",
  "Nguyễn Thị Minh Khai",
] as const;

const GOODS: readonly (readonly [sku: string, euro: number])[] = [
  ["MUG-BLUE", 1_250],
  ["TEAPOT-CAST-IRON-900ML", 7_490],
  ["LAMP-DESK-OAK", 11_900],
  ["NOTEBOOK-A5-DOTTED", 890],
  ["カップ-青", 1_400],
  ["KABEL-USB-C-2M-GEFLOCHTEN-ANTHRAZIT-MIT-ZUGENTLASTUNG-2ER-PACK", 1_990],
];

/** Minor units of a euro cent's worth. */
const CURRENCIES: readonly (readonly [code: string, factor: number])[] = [
  ["EUR", 1],
  ["EUR", 1],
  ["USD", 1.1],
  ["JPY", 1.6],
  ["CHF", 0.95],
  ["KWD", 3.3],
];

/** How many orders failed, where, and why. */
const FAILURES: readonly { readonly stage: string; readonly reason: string; readonly count: number }[] = [
  { stage: "pay", reason: "payments answered 502: Bad Gateway", count: 14 },
  {
    stage: "ship",
    reason: `carrier answered 422: {"error":"consignee_address_invalid","message":"The postal code 28O14 is not one of Madrid","field":"to.postal_code","documentation":"https://carrier.example/docs/errors/consignee_address_invalid?locale=es-ES&revision=2026-10"}`,
    count: 3,
  },
  { stage: "pay", reason: "the bank could not be reached: 接続がタイムアウトしました (код 504)", count: 2 },
  { stage: "ship", reason: `${"nobreak".repeat(70)}…`, count: 1 },
  { stage: "pay", reason: HOSTILE, count: 1 },
];

const MINUTE_MS = 60_000;
const DELIVERED = 120;

interface Written {
  readonly order: NewOrder;
  readonly status: string;
  readonly updatedAt: Date;
  readonly events: readonly NewOrderEvent[];
  readonly failed?: { readonly stage: string; readonly reason: string };
}

/** Fills an empty service. Orders that failed, and those that have ended, are of the last hours. */
export async function fillShop({ environment, client }: TestLine): Promise<void> {
  await client.post("/stock", { items: GOODS.map(([sku]) => ({ sku, onHand: 100_000 })) });
  const written = [
    ...Array.from({ length: DELIVERED }, (_, index) => delivered(index)),
    ...FAILURES.flatMap((failure, group) =>
      Array.from({ length: failure.count }, (_, index) => failedOrder(failure, group * 20 + index)),
    ),
  ];
  const { database, redis } = environment;
  // All at once, so that nobody carries them on.
  await database.transaction(async (queries) => {
    await queries.insert(orders).values(written.map(asRow));
    await queries
      .insert(orderLines)
      .values(
        written.flatMap(({ order: { id: orderId, lines } }) =>
          lines.map((line, position) => ({ orderId, position, ...line })),
        ),
      );
    await queries.commit(insertEvents(written.flatMap(({ events }) => events)));
  });
  await addCounts(redis, lastHour());
}

/** An order with many lines, in a currency without minor units. */
export const LONG_ORDER = {
  customerId: "株式会社サンプル商事",
  reference: "発注書 2026-11/0042 – Weihnachten 🎁 (2. Lieferung, Haus B)",
  currency: "JPY",
  lines: Array.from({ length: 150 }, (_, index) => ({
    sku: GOODS[index % GOODS.length]?.[0] ?? "",
    quantity: 1 + (index % 12),
    unitPrice: 1_480 + 10 * index,
  })),
};

/** An order whose every text would be markup. */
export const HOSTILE_ORDER = {
  customerId: HOSTILE,
  reference: HOSTILE,
  currency: "EUR",
  lines: [{ sku: HOSTILE, quantity: 1, unitPrice: 0 }],
};

function asRow({ order: { lines: _, idempotency: __, ...order }, status, updatedAt, failed }: Written) {
  const mark = failed && { failedStage: failed.stage, failedReason: failed.reason, failedAt: updatedAt };
  return { ...order, status, updatedAt, ...mark };
}

function makeOrder(index: number, createdAt: Date): NewOrder {
  const [currency, factor] = CURRENCIES[index % CURRENCIES.length] ?? ["EUR", 1];
  const lines: OrderLine[] = Array.from({ length: 1 + (index % 4) }, (_, at) => {
    const [sku, euro] = GOODS[(index + at) % GOODS.length] ?? ["MUG-BLUE", 1_250];
    return { sku, quantity: 1 + ((index * 7) % 5), unitPrice: Math.round(euro * factor) };
  });
  return {
    ...NOTHING_MORE,
    id: uuidv7({ msecs: createdAt.getTime() }),
    customerId: CUSTOMERS[index % CUSTOMERS.length] ?? "",
    reference: index % 5 === 4 ? null : `SO-2026-11-${String(4_210 + index).padStart(6, "0")}`,
    currency,
    total: totalOf(lines) ?? 0,
    lines,
    paymentToken: null,
    shipTo: null,
    createdAt,
    idempotency: null,
  };
}

function delivered(index: number): Written {
  const order = makeOrder(index, new Date(Date.now() - (3 + index * 1.4) * MINUTE_MS));
  const events = eventsOf(order, PIPELINE.length);
  return { order, status: "DELIVERED", updatedAt: lastOf(events), events };
}

function failedOrder(
  { stage, reason }: { readonly stage: string; readonly reason: string },
  index: number,
): Written {
  const order = makeOrder(index, new Date(Date.now() - (12 + index * 0.8) * MINUTE_MS));
  const reached = PIPELINE.findIndex(({ name }) => name === stage);
  const status = lifecycle.statusBefore({ name: stage });
  const before = eventsOf(order, reached);
  const began = lastOf(before).getTime();
  const attempts = [1, 2, 3].map((attempt): NewOrderEvent => {
    const startedAt = new Date(began + 4 ** attempt * 1_000);
    return {
      orderId: order.id,
      type: attempt === 3 ? "failed" : "attempt-failed",
      from: status,
      to: status,
      stage,
      reason,
      record: null,
      at: new Date(startedAt.getTime() + 5_000),
      attempt,
      startedAt,
    };
  });
  const events = [...before, ...attempts];
  return { order, status, updatedAt: lastOf(events), events, failed: { stage, reason } };
}

function lastOf(events: readonly NewOrderEvent[]): Date {
  const last = events.at(-1);
  if (last === undefined) throw new Error("an order begins with an event");
  return last.at;
}

/** The order's creation, and what the first steps, as many as are said, have written after that. */
function eventsOf(order: NewOrder, steps: number): NewOrderEvent[] {
  const waits = [40, 120, 260, 88_000];
  const works = [12, 380, 640, 90];
  let at = order.createdAt.getTime();
  const created = { stage: null, reason: null, record: null, at: order.createdAt };
  const done = PIPELINE.slice(0, steps).map(({ name, to }, index): NewOrderEvent => {
    const startedAt = new Date(at + (waits[index] ?? 100));
    at = startedAt.getTime() + (works[index] ?? 100);
    return {
      orderId: order.id,
      from: lifecycle.statusBefore({ name }),
      to,
      stage: name,
      reason: null,
      record: RECORDS[name] ?? {},
      at: new Date(at),
      attempt: 1,
      startedAt,
    };
  });
  return [{ orderId: order.id, from: null, to: CREATED, ...created }, ...done];
}

const RECORDS: Readonly<Record<string, Record<string, string | number>>> = {
  pay: { chargeId: "ch_3QK2eZvKYlo2C8rN0Lx", amount: 14_280, currency: "EUR" },
  ship: { trackingNumber: "CV000004711DE" },
  deliver: { deliveredAt: "2026-11-23T09:30:00.000Z" },
};

/** Orders done in each minute of the last hour: more in the middle of it, and for a while a slow payment provider. */
function lastHour(): ReadonlyMap<string, StepCounts> {
  const last = minuteOf(Date.now()) - 1;
  const counts = new Map<string, StepCounts>();
  for (let back = 0; back < 60; back++) {
    for (const [index, { name }] of PIPELINE.entries()) {
      const done = Math.round(140 + 90 * Math.sin((60 - back) / 9) + ((back * 13 + index * 5) % 17));
      const slow = name === "pay" && back > 20 && back < 32 ? 10 : 0;
      const count = noCounts();
      count.done = done;
      // Buckets: a quarter of a doubling each.
      const usual = [14, 34, 38, 26][index] ?? 20;
      for (let spread = -6; spread <= 6; spread++)
        count.buckets.set(usual + slow + spread, Math.max(1, Math.round(done / (4 + spread ** 2))));
      counts.set(`minute:${name}:${last - back}`, count);
    }
  }
  return counts;
}
