import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { setPipeline } from "../../db/pipelines.ts";
import { orderStore } from "../../db/order-store.ts";
import { httpStage } from "../../src/order/http-stage.ts";
import { Lifecycle } from "../../src/order/lifecycle.ts";
import { outlineOf } from "../../src/order/outline.ts";
import { Callbacks, TOKEN_LENGTH } from "../../src/providers/http/callbacks.ts";
import { createTestEnvironment, type TestEnvironment } from "../support/environment.ts";
import { createOrder } from "../support/orders.ts";

const check = httpStage({ name: "check", to: "CHECKED", url: "http://check" });
const scan = httpStage({ name: "scan", to: "SCANNED", url: "http://scan" });
const lifecycle = new Lifecycle([check, scan]);

let environment: TestEnvironment;
beforeAll(async () => {
  environment = await createTestEnvironment();
});
afterAll(() => environment.close());

const open = (publicUrl: string | undefined = "http://shop.example/api/") =>
  new Callbacks({ database: environment.database, lifecycle, publicUrl });

/** A token for the result of a stage, as its service gets it. */
async function tokenFor(orderId: string, stage = "check"): Promise<string> {
  const address = await open().addressFor(orderId, stage);
  const [, token] = /^http:\/\/shop\.example\/api\/operations\/([\w-]+)$/.exec(address ?? "") ?? [];
  if (token === undefined) throw new Error(`${address} is no callback address`);
  expect(token).toHaveLength(TOKEN_LENGTH);
  return token;
}

const place = () => createOrder(environment.database);

test("a result is kept once for the order and the stage that its token is for", async () => {
  const [id, other] = [await place(), await place()];
  const token = await tokenFor(id);
  // Another process than the one that has made the token.
  const callbacks = open(undefined);
  const of = { orderId: id, stage: "check" };
  expect(await callbacks.store(token, { done: { score: 1 } })).toEqual({ taken: "stored", ...of });
  expect(await callbacks.store(token, { done: { score: 1 } })).toEqual({ taken: "stored", ...of });
  expect(await callbacks.store(token, { done: { score: 2 } })).toEqual({ taken: "used", ...of });
  expect(await callbacks.take(id, "check")).toEqual({ done: { score: 1 } });
  // A process that died with it finds it again.
  expect(await callbacks.take(id, "check")).toEqual({ done: { score: 1 } });
  expect(await callbacks.take(id, "scan")).toBeUndefined();
  expect(await callbacks.take(other, "check")).toBeUndefined();
});

test("a result that is the same JSON is the same, however JavaScript tells its values apart", async () => {
  const id = await place();
  const token = await tokenFor(id);
  const result = { done: { zero: -0, tenth: 0.1 + 0.2, large: 1e21, name: "Zo\u00eb", no: null } };
  expect(await open().store(token, result)).toMatchObject({ taken: "stored" });
  expect(await open().store(token, result)).toMatchObject({ taken: "stored" });
  const { zero: _zero, ...rest } = result.done;
  expect(await open().store(token, { done: { ...rest, zero: 0 } })).toMatchObject({ taken: "stored" });
});

test("a result that does not decide is used once, and the next request has a token of its own", async () => {
  const id = await place();
  const callbacks = open();
  const [first, second] = [await tokenFor(id), await tokenFor(id)];
  expect(first).not.toBe(second);
  await callbacks.store(first, { snooze: 500 });
  expect(await callbacks.take(id, "check")).toEqual({ snooze: 500 });
  expect(await callbacks.take(id, "check")).toBeUndefined();
  await callbacks.store(second, { reject: "stolen card" });
  expect(await callbacks.take(id, "check")).toEqual({ reject: "stolen card" });
});

test("of many at once under one token the first is kept", async () => {
  const id = await place();
  const token = await tokenFor(id);
  const callbacks = open();
  const taken = await Promise.all(
    Array.from({ length: 8 }, (_, score) => callbacks.store(token, { done: { score } })),
  );
  expect(taken.filter((each) => each.taken === "stored")).toHaveLength(1);
  expect(taken.filter((each) => each.taken === "used")).toHaveLength(7);
});

test("a token for another order or stage, or one that nobody has made, is unknown", async () => {
  const [id, other] = [await place(), await place()];
  const token = Buffer.from(await tokenFor(id), "base64url");
  const foreign = Buffer.from(await tokenFor(other), "base64url");
  const mixed = Buffer.concat([foreign.subarray(0, 16), token.subarray(16)]).toString("base64url");
  const reserve = await tokenFor(id, "reserve");
  for (const each of [mixed, reserve, "A".repeat(TOKEN_LENGTH), "short", ""])
    expect(await open().store(each, { done: {} })).toEqual({ taken: "unknown" });
});

test("a result that comes when the order is done with the stage, or is to be cancelled, is over", async () => {
  const store = orderStore(environment.database);
  const [moved, cancelled] = [await place(), await place()];
  const tokens = [await tokenFor(moved), await tokenFor(cancelled), await tokenFor(moved)];
  const at = new Date();
  const [early, tooLate, later] = tokens.map((token) => () => open().store(token, { done: {} }));
  expect(await early?.()).toMatchObject({ taken: "stored" });
  await store.applyTransitions([
    {
      orderId: moved,
      from: "CREATED",
      to: "CHECKED",
      stage: "check",
      reason: null,
      record: {},
      unlessCancelled: false,
      at,
    },
  ]);
  await store.requestCancellation({ orderId: cancelled, whileIn: ["CREATED"], reason: "x", at });
  expect(await tooLate?.()).toMatchObject({ taken: "over" });
  expect(await later?.()).toMatchObject({ taken: "over" });
  // The same again is answered as before.
  expect(await early?.()).toMatchObject({ taken: "stored" });
});

test("a result for a stage before which another was put is kept until the order gets there", async () => {
  const id = await place();
  const token = await tokenFor(id);
  // The order stands at CREATED, where `added` is due now.
  const added = httpStage({ name: "added", to: "ADDED", url: "http://added" });
  const longer = new Lifecycle([added, check, scan]);
  const callbacks = new Callbacks({
    database: environment.database,
    lifecycle: longer,
    publicUrl: undefined,
  });
  expect(await callbacks.store(token, { done: { score: 1 } })).toMatchObject({ taken: "stored" });
  expect(await callbacks.take(id, "check")).toEqual({ done: { score: 1 } });
});

test("a process with a former pipeline takes results for the stages of the one in force", async () => {
  const id = await place();
  const token = await tokenFor(id);
  const former = new Callbacks({
    database: environment.database,
    lifecycle: new Lifecycle([scan]),
    publicUrl: undefined,
  });
  expect(await former.store(token, { done: {} })).toEqual({ taken: "unknown" });
  await setPipeline(environment.database, outlineOf([check, scan]));
  expect(await former.store(token, { done: { score: 1 } })).toMatchObject({
    taken: "stored",
    stage: "check",
  });
  expect(await open().take(id, "check")).toEqual({ done: { score: 1 } });
  // Past a stage that it does not have, the order is in a status that it does not know.
  await orderStore(environment.database).applyTransitions([
    {
      orderId: id,
      from: "CREATED",
      to: "CHECKED",
      stage: "check",
      reason: null,
      record: {},
      unlessCancelled: false,
      at: new Date(),
    },
  ]);
  expect(await former.store(await tokenFor(id, "scan"), { done: {} })).toMatchObject({ taken: "stored" });
  expect(await former.store(await tokenFor(id), { done: {} })).toMatchObject({ taken: "over" });
});

test("without an address of the API there is none for callbacks", async () => {
  const callbacks = new Callbacks({ database: environment.database, lifecycle, publicUrl: undefined });
  expect(await callbacks.addressFor(await place(), "check")).toBeNull();
});
