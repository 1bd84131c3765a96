import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { v7 as uuidv7 } from "uuid";
import { appendFailedAttempts, listEvents } from "../../../db/order-events.ts";
import { applyTransitions } from "../../../db/transitions.ts";
import { markFailed, resumeOrders } from "../../../db/failures.ts";
import { requestCancellation, requestCancellations } from "../../../db/cancellations.ts";
import { LIMITS } from "../../../src/order/limits.ts";
import { createTestEnvironment, type TestEnvironment } from "../../support/environment.ts";
import { createOrder, readOrder } from "../../support/orders.ts";

let environment: TestEnvironment;
beforeAll(async () => {
  environment = await createTestEnvironment();
});
afterAll(() => environment.close());

const MARK = { attempt: 3, startedAt: new Date("2026-11-23T10:00:00.000Z") };

/** What happened to an order after its creation. */
const eventsOf = async (id: string) => (await listEvents(environment.database, id)).slice(1);

test("a transition has the attempt that led to it", async () => {
  const id = await createOrder(environment.database);
  const at = new Date();
  await applyTransitions(environment.database, [
    {
      orderId: id,
      from: "CREATED",
      to: "RESERVED",
      stage: "reserve",
      reason: null,
      record: null,
      unlessCancelled: false,
      at,
      ...MARK,
    },
  ]);
  expect(await eventsOf(id)).toMatchObject([{ type: "status", to: "RESERVED", at, actor: null, ...MARK }]);
});

test("failed attempts have the order's status, and those of unknown orders are left out", async () => {
  const id = await createOrder(environment.database);
  const at = new Date();
  await appendFailedAttempts(environment.database, [
    { orderId: id, stage: "reserve", reason: "é".repeat(LIMITS.reason + 1), at, ...MARK },
    { orderId: uuidv7(), stage: "reserve", reason: "lost", at, ...MARK },
    { orderId: id, stage: "reserve", reason: "again", at, ...MARK, attempt: 4 },
  ]);
  const unmoved = { type: "attempt-failed", from: "CREATED", to: "CREATED", stage: "reserve", at };
  expect(await eventsOf(id)).toMatchObject([
    { ...unmoved, ...MARK, reason: `${"é".repeat(LIMITS.reason - 1)}…` },
    { ...unmoved, attempt: 4, reason: "again" },
  ]);
  expect((await readOrder(environment.database, id)).records).toEqual({});
});

test("an order that fails and is resumed has one event for each, with who resumed it", async () => {
  const id = await createOrder(environment.database);
  const failure = { orderId: id, stage: "reserve", reason: "on fire", at: new Date(), ...MARK };
  await markFailed(environment.database, { ...failure, whileIn: ["PAID"] });
  expect(await eventsOf(id)).toEqual([]);
  await markFailed(environment.database, { ...failure, whileIn: ["CREATED"] });
  for (let times = 0; times < 2; times++) await resumeOrders(environment.database, [id], "ada");
  const unmoved = { from: "CREATED", to: "CREATED", stage: "reserve" };
  expect(await eventsOf(id)).toMatchObject([
    { ...unmoved, type: "failed", reason: "on fire", actor: null, ...MARK },
    { ...unmoved, type: "resumed", reason: null, actor: "ada", attempt: null, startedAt: null },
  ]);
});

test("a cancellation request is one event, with who asked", async () => {
  const id = await createOrder(environment.database);
  const request = { orderId: id, whileIn: ["CREATED"], reason: "by mistake", at: new Date() };
  expect(
    await requestCancellation(environment.database, { ...request, whileIn: ["PAID"], actor: "ada" }),
  ).toBe(false);
  for (const actor of ["ada", "bob"])
    expect(await requestCancellation(environment.database, { ...request, actor })).toBe(true);
  expect(await eventsOf(id)).toMatchObject([
    {
      type: "cancel-requested",
      from: "CREATED",
      to: "CREATED",
      stage: null,
      reason: "by mistake",
      actor: "ada",
    },
  ]);
});

test("a missed deadline is an event of each order that it cancels, and of no other", async () => {
  const [late, alreadyAsked] = [
    await createOrder(environment.database),
    await createOrder(environment.database),
  ];
  const at = new Date();
  await requestCancellation(environment.database, {
    orderId: alreadyAsked,
    whileIn: ["CREATED"],
    reason: "by mistake",
    at,
  });
  const request = { orderIds: [late, alreadyAsked], reason: "not paid within 24 h", at };
  expect(await requestCancellations(environment.database, { ...request, status: "PAID" })).toBe(0);
  expect(await requestCancellations(environment.database, { ...request, status: "CREATED" })).toBe(1);
  expect(await eventsOf(late)).toMatchObject([
    { type: "cancel-requested", reason: "not paid within 24 h", actor: null, at },
  ]);
  expect(await eventsOf(alreadyAsked)).toMatchObject([{ reason: "by mistake" }]);
});
