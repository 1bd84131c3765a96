import { afterEach, beforeAll, beforeEach, describe, expect, test } from "@jest/globals";
import { applyTransitions } from "../../../db/transitions.ts";
import { clearFailed, markFailed } from "../../../db/failures.ts";
import { orders } from "../../../db/schema.ts";
import type { OrderPageBody } from "../../../src/api/schemas.ts";
import { API_LIMITS } from "../../../src/api/limits.ts";
import { useApi } from "../../support/api.ts";
import { PLAIN_ORDER } from "../../support/client.ts";

const api = useApi();

async function place(given: Partial<Record<"customerId" | "reference", string>> = {}): Promise<string> {
  return (await api.client.order({ ...PLAIN_ORDER, ...given })).id;
}

async function placeMany(count: number, given = {}): Promise<string[]> {
  const ids: string[] = [];
  for (let placed = 0; placed < count; placed++) ids.push(await place(given));
  return ids;
}

async function page(query: Record<string, string>): Promise<{ ids: string[]; nextCursor: string | null }> {
  const { status, body } = await api.client.get<OrderPageBody>(
    `/orders?${new URLSearchParams(query).toString()}`,
  );
  expect(status).toBe(200);
  return { ids: body.items.map((order) => order.id), nextCursor: body.nextCursor };
}

async function forgetOrders(): Promise<void> {
  await api.environment.database.transaction((queries) => queries.delete(orders));
}

describe("filters", () => {
  let created: string;
  let reserved: string;
  let failed: string;
  let other: string;

  beforeAll(async () => {
    const { database } = api.environment;
    created = await place({ customerId: "cust-1", reference: "INV-1" });
    reserved = await place({ customerId: "cust-1", reference: "INV-2" });
    failed = await place({ customerId: "cust-2", reference: "INV-1" });
    other = await place({ customerId: "CUST-1" });
    const at = new Date();
    const change = { stage: "reserve", reason: null, record: null, unlessCancelled: false, at };
    await applyTransitions(database, [{ ...change, orderId: reserved, from: "CREATED", to: "RESERVED" }]);
    await markFailed(database, {
      orderId: failed,
      whileIn: ["CREATED"],
      stage: "reserve",
      reason: "broke",
      at,
    });
  });

  test.each<[string, Record<string, string>, () => string[]]>([
    ["none: all, newest first", {}, () => [other, failed, reserved, created]],
    ["status", { status: "RESERVED" }, () => [reserved]],
    ["status that no order has", { status: "DELIVERED" }, () => []],
    ["customerId, to the letter", { customerId: "cust-1" }, () => [reserved, created]],
    ["customerId is no pattern", { customerId: "cust-_" }, () => []],
    ["customerId is no SQL", { customerId: "' OR ''='" }, () => []],
    ["reference", { reference: "INV-1" }, () => [failed, created]],
    ["failed", { failed: "true" }, () => [failed]],
    ["not failed", { failed: "false" }, () => [other, reserved, created]],
    ["two of them", { reference: "INV-1", customerId: "cust-1" }, () => [created]],
    [
      "all of them",
      { reference: "INV-1", customerId: "cust-2", status: "CREATED", failed: "true" },
      () => [failed],
    ],
    ["two that exclude each other", { status: "RESERVED", failed: "true" }, () => []],
  ])("%s", async (_, query, expected) => {
    expect(await page(query)).toEqual({ ids: expected(), nextCursor: null });
  });

  test("an order that failed tells where, why and since when, until it goes on", async () => {
    const read = async () => (await api.client.get(`/orders/${failed}`)).body;
    expect((await read()).failed).toEqual({ stage: "reserve", reason: "broke", at: expect.any(String) });
    await clearFailed(api.environment.database, failed);
    expect(await read()).not.toHaveProperty("failed");
    expect((await page({ failed: "true" })).ids).toEqual([]);
  });

  test("text beyond ASCII is found to the character", async () => {
    const reference = "Ž 100% & 😀 +1=?#";
    const id = await place({ reference });
    expect((await page({ reference })).ids).toEqual([id]);
    expect((await page({ reference: "Z 100% & 😀 +1=?#" })).ids).toEqual([]);
  });
});

describe("pages", () => {
  beforeEach(forgetOrders);
  afterEach(forgetOrders);

  test("hold each order once, newest first, and the last one says so", async () => {
    const ids = (await placeMany(7)).toReversed();
    const first = await page({ limit: "3" });
    const second = await page({ limit: "3", cursor: first.nextCursor! });
    const third = await page({ limit: "3", cursor: second.nextCursor! });
    expect([first.ids, second.ids, third.ids]).toEqual([ids.slice(0, 3), ids.slice(3, 6), ids.slice(6)]);
    expect(third.nextCursor).toBeNull();
  });

  test("end without an empty one when the last page is full", async () => {
    await placeMany(4);
    const first = await page({ limit: "2" });
    const second = await page({ limit: "2", cursor: first.nextCursor! });
    expect(second).toMatchObject({ nextCursor: null });
    expect(second.ids).toHaveLength(2);
  });

  test("stay as they are while orders arrive and move on", async () => {
    const ids = (await placeMany(6)).toReversed();
    const seen: string[] = [];
    let cursor: string | null = "";
    while (cursor !== null) {
      const { ids: found, nextCursor } = await page({ limit: "2", ...(cursor && { cursor }) });
      seen.push(...found);
      cursor = nextCursor;
      await placeMany(3);
      const at = new Date();
      const change = { stage: "reserve", reason: null, record: null, unlessCancelled: false, at };
      await applyTransitions(api.environment.database, [
        { ...change, orderId: ids[0]!, from: "CREATED", to: "RESERVED" },
      ]);
    }
    expect(seen).toEqual(ids);
    expect((await page({})).ids).toHaveLength(6 + 3 * 3);
  });

  test("follow a filter", async () => {
    const wanted: string[] = [];
    for (let round = 0; round < 5; round++) {
      wanted.unshift(await place({ customerId: "wanted" }));
      await place({ customerId: "other" });
    }
    const first = await page({ limit: "3", customerId: "wanted" });
    const second = await page({ limit: "3", customerId: "wanted", cursor: first.nextCursor! });
    expect([...first.ids, ...second.ids]).toEqual(wanted);
  });

  test("are read while many orders arrive at once, each order once", async () => {
    const before = (await placeMany(5)).toReversed();
    const arriving = Promise.all(Array.from({ length: 100 }, () => place()));
    const listed = await api.client.orders({ limit: "1" });
    await arriving;
    const ids = listed.map((order) => order.id);
    expect(new Set(ids).size).toBe(ids.length);
    expect(ids.slice(-5)).toEqual(before);
  });

  test("have 50 orders unless a limit is given, and 200 at most", async () => {
    await Promise.all(Array.from({ length: 201 }, () => place()));
    expect((await page({})).ids).toHaveLength(50);
    expect((await page({ limit: "200" })).ids).toHaveLength(API_LIMITS.pageSize);
    expect((await page({ limit: "1" })).ids).toHaveLength(1);
  });

  test("of nothing are empty", async () => {
    expect(await page({})).toEqual({ ids: [], nextCursor: null });
  });
});

describe("a query that makes no sense", () => {
  const limit = "must be a whole number from 1 to 200";
  const cursor = "must be the nextCursor of a page of this listing";
  const someId = "01a20691-7a8e-777a-bbfa-0d625ad32c50";
  const encoded = Buffer.from(someId).toString("base64url");

  test.each<[string, { path: string; message: string | RegExp }[]]>([
    ["limit=0", [{ path: "limit", message: limit }]],
    ["limit=201", [{ path: "limit", message: limit }]],
    ["limit=-1", [{ path: "limit", message: limit }]],
    ["limit=1.5", [{ path: "limit", message: limit }]],
    ["limit=1e2", [{ path: "limit", message: limit }]],
    ["limit=0x10", [{ path: "limit", message: limit }]],
    ["limit=%205", [{ path: "limit", message: limit }]],
    ["limit=", [{ path: "limit", message: limit }]],
    ["limit=NaN", [{ path: "limit", message: limit }]],
    ["limit=Infinity", [{ path: "limit", message: limit }]],
    ["limit=99999999999999999999", [{ path: "limit", message: limit }]],
    ["limit=1&limit=2", [{ path: "limit", message: limit }]],
    ["cursor=", [{ path: "cursor", message: cursor }]],
    ["cursor=zz", [{ path: "cursor", message: cursor }]],
    [`cursor=${someId}`, [{ path: "cursor", message: cursor }]],
    [`cursor=${encoded}!`, [{ path: "cursor", message: cursor }]],
    [`cursor=${encoded}%00`, [{ path: "cursor", message: cursor }]],
    [`cursor=${"x".repeat(201)}`, [{ path: "cursor", message: /<=200/ }]],
    [`cursor=${encoded}&cursor=${encoded}`, [{ path: "cursor", message: /array/ }]],
    ["status=SLEEPING", [{ path: "status", message: /"CREATED"/ }]],
    ["status=created", [{ path: "status", message: /"CREATED"/ }]],
    ["status=CREATED&status=PAID", [{ path: "status", message: /"CREATED"/ }]],
    ["failed=yes", [{ path: "failed", message: /"true"/ }]],
    ["customerId=", [{ path: "customerId", message: /Too small/ }]],
    ["customerId=a&customerId=b", [{ path: "customerId", message: /array/ }]],
    [`reference=${"x".repeat(65)}`, [{ path: "reference", message: /<=64 characters/ }]],
    ["reference=%00", [{ path: "reference", message: /control characters/ }]],
    ["customer=a", [{ path: "customer", message: "is not a field of this request" }]],
    ["__proto__=a", [{ path: "__proto__", message: "is not a field of this request" }]],
    ["status[]=PAID", [{ path: '["status[]"]', message: "is not a field of this request" }]],
    [
      "limit=0&status=x&wrong=1&failed=2",
      [
        { path: "status", message: /./ },
        { path: "failed", message: /./ },
        { path: "limit", message: limit },
        { path: "wrong", message: /./ },
      ],
    ],
  ])("%s is refused", async (query, errors) => {
    const { status, body } = await api.client.get(`/orders?${query}`);
    expect(status).toBe(400);
    expect(body).toMatchObject({ type: "urn:conveyor:problem:invalid-input", status: 400 });
    expect(body.errors).toEqual(
      errors.map(({ path, message }) => ({
        path,
        message: typeof message === "string" ? message : expect.stringMatching(message),
      })),
    );
  });
});
