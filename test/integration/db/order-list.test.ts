import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { v7 as uuidv7 } from "uuid";
import { countByStage, FAILED } from "../../../db/marked.ts";
import { countGroup, groupFailures, listFailed, markFailed } from "../../../db/failures.ts";
import { findOldest } from "../../../db/order-states.ts";
import { listRows, type OrderFilter, type PagePlace } from "../../../db/order-list.ts";
import { applyTransitions } from "../../../db/transitions.ts";
import { createOrders } from "../../../db/new-orders.ts";
import { createTestEnvironment, type TestEnvironment } from "../../support/environment.ts";
import { newOrder } from "../../support/orders.ts";
import { countingDatabase } from "../../support/reads.ts";

/** Orders of four customers, a minute apart; every tenth has failed, in one of two stages. */
const COUNT = 2_000;
const FIRST = Date.UTC(2026, 10, 1);
const MINUTE = 60_000;

interface Known {
  readonly id: string;
  readonly customerId: string;
  readonly reference: string;
  readonly status: string;
  readonly failedStage: string | null;
  readonly createdAt: Date;
}

let environment: TestEnvironment;
const known: Known[] = [];

beforeAll(async () => {
  environment = await createTestEnvironment();
  const { database } = environment;
  for (let index = 0; index < COUNT; index++) {
    const createdAt = new Date(FIRST + index * MINUTE);
    const isReserved = index % 2 === 0;
    known.push({
      id: uuidv7({ msecs: createdAt.getTime() }),
      createdAt,
      customerId: `cust-${index % 4}`,
      reference: `ref-${index % 1_000}`,
      status: isReserved ? "RESERVED" : "CREATED",
      failedStage: index % 10 === 0 ? "pay" : index % 10 === 5 ? "reserve" : null,
    });
  }
  await createOrders(
    database,
    known.map(({ id, createdAt, customerId, reference }) =>
      newOrder({ id, createdAt, customerId, reference }),
    ),
  );
  const at = new Date(FIRST);
  await applyTransitions(
    database,
    known
      .filter(({ status }) => status === "RESERVED")
      .map(({ id }) => ({
        orderId: id,
        from: "CREATED",
        to: "RESERVED",
        stage: "reserve",
        reason: null,
        record: null,
        unlessCancelled: false,
        at,
      })),
  );
  for (const { id, status, failedStage } of known)
    if (failedStage !== null)
      await markFailed(database, {
        orderId: id,
        whileIn: [status],
        stage: failedStage,
        reason: failedStage === "pay" && id > (known[COUNT / 2]?.id ?? "") ? "new" : "old",
        at,
      });
  known.reverse();
});
afterAll(() => environment?.close());

const middle = new Date(FIRST + (COUNT / 2) * MINUTE);
const FILTERS: [string, OrderFilter, (order: Known) => boolean][] = [
  ["none", {}, () => true],
  ["a status", { status: "CREATED" }, ({ status }) => status === "CREATED"],
  ["a customer", { customerId: "cust-3" }, ({ customerId }) => customerId === "cust-3"],
  ["a reference", { reference: "ref-7" }, ({ reference }) => reference === "ref-7"],
  ["failed", { failed: true }, ({ failedStage }) => failedStage !== null],
  ["failed in a stage", { failed: true, failedStage: "pay" }, ({ failedStage }) => failedStage === "pay"],
  ["not failed", { failed: false }, ({ failedStage }) => failedStage === null],
  [
    "a status and failed",
    { status: "RESERVED", failed: true },
    ({ status, failedStage }) => status === "RESERVED" && failedStage !== null,
  ],
  [
    "a status and not failed",
    { status: "RESERVED", failed: false },
    ({ status, failedStage }) => status === "RESERVED" && failedStage === null,
  ],
  [
    "a customer and a status",
    { customerId: "cust-2", status: "RESERVED" },
    ({ customerId, status }) => customerId === "cust-2" && status === "RESERVED",
  ],
  ["since then", { since: middle }, ({ createdAt }) => createdAt >= middle],
  [
    "before then, of a status",
    { until: middle, status: "RESERVED" },
    ({ createdAt, status }) => createdAt < middle && status === "RESERVED",
  ],
];

function idsOf(orders: readonly { readonly id: string }[]): string[] {
  return orders.map(({ id }) => id);
}

describe.each(FILTERS)("orders with the filter %s", (_, filter, matches) => {
  const list = (place: PagePlace) => listRows(environment.database, filter, place);

  test("are found page by page, the newest first, and back again", async () => {
    const wanted = idsOf(known.filter(matches)).slice(0, 150);
    const isAll = known.filter(matches).length <= 150;
    const pages: string[][] = [];
    let before: string | undefined;
    let last = await list({ limit: 40 });
    for (let count = 0; count < 10 && pages.flat().length < wanted.length; count++) {
      pages.push(idsOf(last.rows));
      if (last.older === null) break;
      before = last.older;
      last = await list({ limit: 40, before });
    }
    expect(pages.flat().slice(0, wanted.length)).toEqual(wanted);
    if (isAll) expect(last.older).toBeNull();

    for (const expected of pages.slice(0, -1).toReversed()) {
      const first: string = pages[pages.indexOf(expected) + 1]?.[0] ?? "";
      const page = await list({ limit: 40, after: first });
      expect(idsOf(page.rows)).toEqual(expected);
      expect(page.older).toBe(expected.at(-1));
      expect(page.newer === null).toBe(expected === pages[0]);
    }
  });

  test("take about a page of rows to read, the first page and a deep one", async () => {
    const { database, readsOf } = countingDatabase(environment.databaseUrl);
    const wanted = idsOf(known.filter(matches));
    const deep = wanted[Math.floor(wanted.length / 2)] ?? "";
    // Twenty shown; and where no index has the whole filter, what was looked at for them, of which half is shown.
    for (const place of [{ limit: 20 }, { limit: 20, before: deep }, { limit: 20, after: deep }]) {
      const reads = await readsOf(() => listRows(database, filter, place));
      expect(reads).toBeLessThan(300);
    }
    await database.close();
  });
});

test("a filter that hardly any order matches examines a limited number of orders", async () => {
  const { database, readsOf } = countingDatabase(environment.databaseUrl);
  const filter = { customerId: "cust-1", status: "DELIVERED" };
  const reads = await readsOf(async () => {
    expect(await listRows(database, filter, { limit: 20 })).toEqual({ rows: [], older: null, newer: null });
  });
  expect(reads).toBeLessThan(1_000);
  await database.close();
});

describe("failures", () => {
  test("are counted by stage, up to a limit", async () => {
    expect(await countByStage(environment.database, FAILED, 200)).toEqual(
      new Map([
        ["pay", { count: 200, more: false }],
        ["reserve", { count: 200, more: false }],
      ]),
    );
    expect((await countByStage(environment.database, FAILED, 199)).get("pay")).toEqual({
      count: 199,
      more: true,
    });
  });

  test("are grouped by stage and reason", async () => {
    const { groups, more } = await groupFailures(environment.database, 200);
    expect(groups.map(({ stage, reason, count }) => [stage, reason, count])).toEqual([
      ["reserve", "old", 200],
      ["pay", "old", 101],
      ["pay", "new", 99],
    ]);
    expect(more).toEqual(new Set());
    expect((await groupFailures(environment.database, 150)).more).toEqual(new Set(["pay", "reserve"]));
  });
});

test("grouping failures and counting a group examine no more of them than the limit", async () => {
  const { database, readsOf } = countingDatabase(environment.databaseUrl);
  // Of 200 in each of two stages; each is read in the index, in the table, and in what was found of it.
  expect(await readsOf(() => groupFailures(database, 50))).toBeLessThan(2 * 50 * 6);
  expect(await readsOf(() => countGroup(database, { stage: "pay", reason: "old" }, 50))).toBeLessThan(50 * 6);
  await database.close();
});

test("the oldest order of a status is one that has not failed", async () => {
  const oldest = known
    .toReversed()
    .find(({ status, failedStage }) => status === "RESERVED" && failedStage === null);
  expect(await findOldest(environment.database, "RESERVED")).toMatchObject({ id: oldest?.id });
  expect(await findOldest(environment.database, "SHIPPED")).toBeUndefined();
});

test("orders whose reasons differ by their ids alone are one group", async () => {
  const { database } = environment;
  const at = new Date();
  const orders = Array.from({ length: 3 }, () => newOrder({ createdAt: at }));
  await createOrders(database, orders);
  const reasons = orders.map(({ id }, index) =>
    index < 2 ? `order ${id} is not known to the carrier` : "order 4711 is not known to the carrier",
  );
  for (const [index, { id: orderId }] of orders.entries())
    await markFailed(database, {
      orderId,
      whileIn: ["CREATED"],
      stage: "ship",
      reason: reasons[index] ?? "",
      at,
    });

  const reason = "order … is not known to the carrier";
  const { groups } = await groupFailures(database, 200);
  expect(groups.filter(({ stage }) => stage === "ship")).toMatchObject([
    { reason, count: 2 },
    { reason: reasons[2], count: 1 },
  ]);
  // By what they have in common, and by any one of them.
  for (const kind of [reason, reasons[0] ?? ""]) {
    const group = { stage: "ship", reason: kind };
    expect(await countGroup(database, group, 200)).toEqual({ count: 2, more: false });
    const page = await listFailed(database, group, { limit: 10 });
    expect(idsOf(page.orders)).toEqual(idsOf(orders.slice(0, 2)));
  }
});
