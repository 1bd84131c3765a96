import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { orderStore } from "../../../db/order-store.ts";
import { listEvents } from "../../../db/order-events.ts";
import { applyTransitions } from "../../../db/transitions.ts";
import { markFailed } from "../../../db/failures.ts";
import { requestCancellation } from "../../../db/cancellations.ts";
import type { DueJob } from "../../../src/engine/ports.ts";
import { CANCEL, Lifecycle } from "../../../src/order/lifecycle.ts";
import { AlreadyUndoneError, type Inventory } from "../../../src/order/ports.ts";
import { reject, snooze, type Stage } from "../../../src/order/stage.ts";
import { Executor, OrderNotFoundError, TooLateToRejectError } from "../../../src/engine/executor.ts";
import { BatchingStore } from "../../../src/engine/batching-store.ts";
import { withinTime } from "../../../src/platform/time-limit.ts";
import { createTestEnvironment, type TestEnvironment } from "../../support/environment.ts";
import { createOrder, NO_PORTS, readOrder, statusesOf } from "../../support/orders.ts";

let environment: TestEnvironment;
beforeAll(async () => {
  environment = await createTestEnvironment();
});
afterAll(() => environment.close());

const NEVER = new AbortController().signal;

/** A line of three stages whose steps are written down, over the real store; jobs are collected. */
function line(
  given: { [Name in "pick" | "pack" | "post"]?: Partial<Stage> } = {},
  inventory: Partial<Inventory> = {},
  store = orderStore(environment.database),
) {
  const steps: string[] = [];
  const jobs: DueJob[] = [];
  const stage = (name: "pick" | "pack" | "post", to: string, more: Partial<Stage> = {}): Stage => ({
    name,
    to,
    run: async (_order, { runKey }) => {
      steps.push(runKey.replace(/^[^:]*:/, "run "));
      return { by: name };
    },
    undo: async (_order, { undoKey }) => {
      steps.push(undoKey.replace(/^[^:]*:/, "undo "));
      return { undone: true };
    },
    ...more,
    ...given[name],
  });
  const [pick, pack, post] = [
    stage("pick", "PICKED"),
    stage("pack", "PACKED"),
    stage("post", "POSTED", { pointOfNoReturn: true }),
  ];
  const lifecycle = new Lifecycle([pick, pack, post]);
  const real = new Executor({
    lifecycle,
    ports: { ...NO_PORTS, inventory: { ...NO_PORTS.inventory, ...inventory } },
    store: new BatchingStore({ store }),
  });
  /** What the orders wait for next is noted. */
  const executor = {
    async execute(...[orderId, ...rest]: Parameters<Executor["execute"]>) {
      const execution = await real.execute(orderId, ...rest);
      if (!("next" in execution)) return execution;
      const { next, ...ended } = execution;
      if (next) jobs.push({ orderId, transition: next });
      return ended;
    },
  };
  return { pick, pack, post, steps, jobs, executor };
}

const RESERVES = { pick: { stock: "reserve" } } as const;

async function move(orderId: string, from: string, to: string, stage: string): Promise<void> {
  const [result] = await applyTransitions(environment.database, [
    { orderId, from, to, stage, reason: null, record: { by: stage }, unlessCancelled: false, at: new Date() },
  ]);
  if (!result?.made) throw new Error(`${orderId} was not ${from}`);
}

async function cancel(orderId: string, whileIn: string, reason = "changed my mind"): Promise<void> {
  await requestCancellation(environment.database, { orderId, whileIn: [whileIn], reason, at: new Date() });
}

const statusOf = async (id: string) => (await readOrder(environment.database, id)).status;
const pathOf = (id: string) => statusesOf(environment.database, id);

describe("a stage that returns a record", () => {
  test("moves the order on, keeps the record, and queues the next stage", async () => {
    const { pick, jobs, executor } = line();
    const id = await createOrder(environment.database);
    expect(await executor.execute(id, pick, NEVER)).toEqual({ outcome: "done", status: "PICKED" });
    expect(await readOrder(environment.database, id)).toMatchObject({
      status: "PICKED",
      records: { pick: { by: "pick" } },
    });
    expect(jobs).toMatchObject([{ orderId: id, transition: { from: "PICKED", to: "PACKED" } }]);
  });

  test("that leaves what can't be stored fails when it does, and names the field", async () => {
    const { pick, pack, executor } = line({
      pick: { run: async () => ({ label: "1\ud83d" }) },
      pack: { run: async () => ({ weight: Infinity }) },
    });
    const id = await createOrder(environment.database);
    await expect(executor.execute(id, pick, NEVER)).rejects.toThrow(
      "stage pick returned what can't be stored: half a character in label",
    );
    await move(id, "CREATED", "PICKED", "pick");
    await expect(executor.execute(id, pack, NEVER)).rejects.toThrow("weight is no finite number");
    expect(await statusOf(id)).toBe("PICKED");
  });

  test("is followed by the next one at once also where another process did what lies between", async () => {
    const { pick, post, executor } = line();
    const id = await createOrder(environment.database);
    await executor.execute(id, pick, NEVER);
    await move(id, "PICKED", "PACKED", "pack");
    // As this process has just left it, the order would still wait to be packed.
    expect(await executor.execute(id, post, NEVER)).toEqual({ outcome: "done", status: "POSTED" });
  });

  test("is not blamed for failing an order that was cancelled meanwhile, as this process did not know", async () => {
    const { pick, pack, steps, executor } = line({
      pack: { run: async () => Promise.reject(new Error("the charge was refunded")) },
    });
    const id = await createOrder(environment.database);
    await executor.execute(id, pick, NEVER);
    await cancel(id, "PICKED");
    expect(await executor.execute(id, pack, NEVER)).toEqual({
      outcome: "cancelled",
      reason: "changed my mind",
    });
    expect(steps).toEqual(["run pick", "undo pack:undo", "undo pick:undo"]);
  });

  test("queues nothing after the last stage", async () => {
    const { post, jobs, executor } = line();
    const id = await createOrder(environment.database);
    await move(id, "CREATED", "PICKED", "pick");
    await move(id, "PICKED", "PACKED", "pack");
    expect(await executor.execute(id, post, NEVER)).toEqual({ outcome: "done", status: "POSTED" });
    expect(jobs).toEqual([]);
    expect(await executor.execute(id, post, NEVER)).toEqual({ outcome: "not due", status: "POSTED" });
  });

  test("sees the records of the stages before, and no status", async () => {
    let seen: object = {};
    const { pack, executor } = line({ pack: { run: async (order) => ((seen = order), {}) } });
    const id = await createOrder(environment.database);
    await move(id, "CREATED", "PICKED", "pick");
    await executor.execute(id, pack, NEVER);
    expect(seen).toMatchObject({ id, records: { pick: { by: "pick" } } });
  });

  test("is known afterwards as MySQL has it", async () => {
    const store = new BatchingStore({ store: orderStore(environment.database) });
    const id = await createOrder(environment.database);
    const failure = { orderId: id, whileIn: ["CREATED"], stage: "pick", reason: "x", at: new Date() };
    await markFailed(environment.database, failure);
    expect((await store.load(id))?.failed).toMatchObject({ reason: "x" });
    const transition = { orderId: id, from: "CREATED", to: "PICKED", stage: "pick", record: { by: "pick" } };
    const rest = { reason: null, unlessCancelled: false, at: new Date() };
    expect(await store.applyTransition({ ...transition, ...rest })).toMatchObject({ made: true });
    expect(store.recall(id)).toEqual(await readOrder(environment.database, id));
  });

  test("takes away the mark of an earlier failure", async () => {
    const { pick, executor } = line();
    const id = await createOrder(environment.database);
    await markFailed(environment.database, {
      orderId: id,
      whileIn: ["CREATED"],
      stage: "pick",
      reason: "x",
      at: new Date(),
    });
    await executor.execute(id, pick, NEVER);
    expect((await readOrder(environment.database, id)).failed).toBeNull();
  });
});

describe("a stage that rejects", () => {
  test("has everything undone in reverse, itself first, and the order cancelled with the reason", async () => {
    const { pack, steps, jobs, executor } = line({ pack: { run: async () => reject("too heavy") } });
    const id = await createOrder(environment.database);
    await move(id, "CREATED", "PICKED", "pick");
    expect(await executor.execute(id, pack, NEVER)).toEqual({ outcome: "cancelled", reason: "too heavy" });
    expect(steps).toEqual(["undo pack:undo", "undo pick:undo"]);
    expect(await readOrder(environment.database, id)).toMatchObject({
      status: "CANCELLED",
      cancellation: { reason: "too heavy" },
    });
    expect((await listEvents(environment.database, id)).slice(-2)).toMatchObject([
      { type: "cancel-requested", to: "PICKED", stage: "pack", reason: "too heavy" },
      {
        from: "PICKED",
        to: "CANCELLED",
        reason: "too heavy",
        record: { "pack.undone": true, "pick.undone": true },
      },
    ]);
    expect(jobs).toEqual([]);
  });

  test("is not obeyed when another worker has done the stage meanwhile", async () => {
    const { pack, steps, jobs, executor } = line({
      pack: {
        run: async (order) => {
          await move(order.id, "PICKED", "PACKED", "pack");
          return reject("too heavy");
        },
      },
    });
    const id = await createOrder(environment.database);
    await move(id, "CREATED", "PICKED", "pick");
    expect(await executor.execute(id, pack, NEVER)).toEqual({ outcome: "not due", status: "PACKED" });
    expect(steps).toEqual([]);
    expect(jobs).toMatchObject([{ transition: { to: "POSTED" } }]);
  });

  test("after the point of no return is an error for a person", async () => {
    const lifecycle = new Lifecycle([
      { name: "post", to: "POSTED", pointOfNoReturn: true, run: async () => ({}) },
      { name: "deliver", to: "DELIVERED", run: async () => reject("nobody home") },
    ]);
    const executor = new Executor({
      lifecycle,
      ports: NO_PORTS,
      store: new BatchingStore({ store: orderStore(environment.database) }),
    });
    const id = await createOrder(environment.database);
    await move(id, "CREATED", "POSTED", "post");
    const [, deliver] = lifecycle.stages;
    await expect(executor.execute(id, deliver ?? fail(), NEVER)).rejects.toThrow(TooLateToRejectError);
    expect(await readOrder(environment.database, id)).toMatchObject({ status: "POSTED", cancellation: null });
  });
});

describe("a stage that snoozes", () => {
  test("leaves the order as it is, but for the mark of a failure", async () => {
    const { pick, jobs, executor } = line({ pick: { run: async () => snooze(1234) } });
    const id = await createOrder(environment.database);
    await markFailed(environment.database, {
      orderId: id,
      whileIn: ["CREATED"],
      stage: "pick",
      reason: "x",
      at: new Date(),
    });
    expect(await executor.execute(id, pick, NEVER)).toEqual({ outcome: "snoozed", milliseconds: 1234 });
    expect(await readOrder(environment.database, id)).toMatchObject({ status: "CREATED", failed: null });
    expect(jobs).toEqual([]);
  });
});

describe("a stage that throws", () => {
  test("leaves the order as it is, and gives the error without the customer's secrets", async () => {
    const { pick, executor } = line({
      pick: { run: async (order) => Promise.reject(new Error(`cannot charge ${order.paymentToken}`)) },
    });
    const id = await createOrder(environment.database, { paymentToken: "tok_secret" });
    await expect(executor.execute(id, pick, NEVER)).rejects.toThrow("cannot charge [redacted]");
    expect(await statusOf(id)).toBe("CREATED");
    expect(await pathOf(id)).toEqual(["CREATED"]);
  });

  test("is not waited for when its time is up", async () => {
    const { pick, executor } = line({ pick: { run: () => new Promise(() => {}) } });
    const id = await createOrder(environment.database);
    const controller = new AbortController();
    const execution = executor.execute(id, pick, controller.signal);
    controller.abort(new Error("time is up"));
    await expect(execution).rejects.toThrow("time is up");
    expect(await statusOf(id)).toBe("CREATED");
  });
});

describe("a stage whose stock is in an inventory outside", () => {
  test("is done once the stock has moved, under the stage's key", async () => {
    const keys: string[] = [];
    const { pick, executor } = line(RESERVES, {
      async move(_operation, { key }) {
        keys.push(key);
        return "moved";
      },
    });
    const id = await createOrder(environment.database);
    expect(await executor.execute(id, pick, NEVER)).toEqual({ outcome: "done", status: "PICKED" });
    expect(keys).toEqual([`${id}:pick`]);
  });

  test("rejects the order with the inventory's reason", async () => {
    const { pick, executor } = line(RESERVES, { move: async () => ({ reject: "sold out: MUG" }) });
    const id = await createOrder(environment.database);
    expect(await executor.execute(id, pick, NEVER)).toEqual({
      outcome: "cancelled",
      reason: "sold out: MUG",
    });
  });
});

describe("a stage that comes after its undo", () => {
  const undone = () => Promise.reject(new AlreadyUndoneError("undone"));

  test("is the end of the order whose cancellation was asked for meanwhile", async () => {
    const { pick, steps, executor } = line({
      pick: { run: async (order) => (await cancel(order.id, "CREATED"), undone()) },
    });
    const id = await createOrder(environment.database);
    expect(await executor.execute(id, pick, NEVER)).toMatchObject({ outcome: "cancelled" });
    expect(steps).toEqual(["undo pick:undo"]);
  });

  test("does nothing to an order that another process has cancelled meanwhile", async () => {
    const { pick, steps, executor } = line({
      pick: {
        run: async (order) => {
          await cancel(order.id, "CREATED");
          const other = line();
          await other.executor.execute(order.id, other.pick, NEVER);
          return undone();
        },
      },
    });
    const id = await createOrder(environment.database);
    expect(await executor.execute(id, pick, NEVER)).toEqual({ outcome: "not due", status: "CANCELLED" });
    expect(steps).toEqual([]);
  });

  test("of its stock does nothing to an order that another process has cancelled meanwhile", async () => {
    const { pick, executor } = line(RESERVES, {
      async move(_operation, { orderId }) {
        await cancel(orderId, "CREATED");
        const other = line();
        await other.executor.execute(orderId, other.pick, NEVER);
        return undone();
      },
    });
    const id = await createOrder(environment.database);
    expect(await executor.execute(id, pick, NEVER)).toEqual({ outcome: "not due", status: "CANCELLED" });
  });

  test("is an error where nobody has cancelled the order", async () => {
    const { pick, executor } = line({ pick: { run: undone } });
    const id = await createOrder(environment.database);
    await expect(executor.execute(id, pick, NEVER)).rejects.toBeInstanceOf(AlreadyUndoneError);
    expect(await statusOf(id)).toBe("CREATED");
  });
});

describe("an order whose cancellation was asked for", () => {
  test("that went through a stage which the pipeline no longer has says that this one is not undone", async () => {
    const { executor, steps } = line();
    const id = await createOrder(environment.database);
    await move(id, "CREATED", "WRAPPED", "wrap");
    await move(id, "WRAPPED", "PICKED", "pick");
    await cancel(id, "PICKED");
    expect(await executor.execute(id, CANCEL, NEVER)).toMatchObject({ outcome: "cancelled" });
    expect(steps).toEqual(["undo pack:undo", "undo pick:undo"]);
    expect((await listEvents(environment.database, id)).at(-1)?.record).toEqual({
      "pack.undone": true,
      "pick.undone": true,
      notUndone: "no longer in the pipeline: wrap",
    });
  });

  test("is not worked on, but undone", async () => {
    const { pack, steps, executor } = line();
    const id = await createOrder(environment.database);
    await move(id, "CREATED", "PICKED", "pick");
    await cancel(id, "PICKED");
    expect(await executor.execute(id, pack, NEVER)).toEqual({
      outcome: "cancelled",
      reason: "changed my mind",
    });
    expect(steps).toEqual(["undo pack:undo", "undo pick:undo"]);
    expect(await pathOf(id)).toEqual(["CREATED", "PICKED", "CANCELLED"]);
  });

  test("while a stage runs, has that stage finished first, and undone at the next boundary", async () => {
    const { pick, pack, steps, executor } = line({
      pick: { run: async (order) => (await cancel(order.id, "CREATED"), { by: "pick" }) },
    });
    const id = await createOrder(environment.database);
    expect(await executor.execute(id, pick, NEVER)).toEqual({ outcome: "done", status: "PICKED" });
    expect(await executor.execute(id, pack, NEVER)).toMatchObject({ outcome: "cancelled" });
    expect(steps).toEqual(["undo pack:undo", "undo pick:undo"]);
    expect(await pathOf(id)).toEqual(["CREATED", "PICKED", "CANCELLED"]);
  });

  test("while the stage of no return runs, does not pass it: that stage is undone too", async () => {
    const { post, steps, executor } = line({
      post: { run: async (order) => (await cancel(order.id, "PACKED"), {}) },
    });
    const id = await createOrder(environment.database);
    await move(id, "CREATED", "PICKED", "pick");
    await move(id, "PICKED", "PACKED", "pack");
    expect(await executor.execute(id, post, NEVER)).toMatchObject({ outcome: "cancelled" });
    expect(steps).toEqual(["undo post:undo", "undo pack:undo", "undo pick:undo"]);
    expect(await pathOf(id)).toEqual(["CREATED", "PICKED", "PACKED", "CANCELLED"]);
  });

  test("stays to be cancelled while undoing fails, and goes on where it can", async () => {
    let works = false;
    const undo = async () => (works ? {} : Promise.reject(new Error("no answer")));
    const { pack, executor } = line({ pick: { undo } });
    const id = await createOrder(environment.database);
    await move(id, "CREATED", "PICKED", "pick");
    await cancel(id, "PICKED");
    await expect(executor.execute(id, pack, NEVER)).rejects.toThrow("no answer");
    expect(await statusOf(id)).toBe("PICKED");
    works = true;
    expect(await executor.execute(id, pack, NEVER)).toMatchObject({ outcome: "cancelled" });
  });

  test("blames the stage whose undoing takes all the time, and not the order", async () => {
    const { pack, executor } = line({ pick: { undo: () => new Promise(() => undefined) } });
    const id = await createOrder(environment.database);
    await move(id, "CREATED", "PICKED", "pick");
    await cancel(id, "PICKED");
    const undone = withinTime(50, undefined, (signal) => executor.execute(id, pack, signal));
    await expect(undone).rejects.toMatchObject({ name: "StageUnavailableError", stage: "pick" });
  });
});

describe("a job that comes late, twice, or from before a deploy", () => {
  test("does nothing but make sure that what is due is queued", async () => {
    const { pick, steps, jobs, executor } = line();
    const id = await createOrder(environment.database);
    await move(id, "CREATED", "PICKED", "pick");
    expect(await executor.execute(id, pick, NEVER)).toEqual({ outcome: "not due", status: "PICKED" });
    expect(steps).toEqual([]);
    expect(jobs).toMatchObject([{ orderId: id, transition: { from: "PICKED", to: "PACKED" } }]);
  });

  test("for a stage that is not due yet queues the one that is", async () => {
    const { post, steps, jobs, executor } = line();
    const id = await createOrder(environment.database);
    expect(await executor.execute(id, post, NEVER)).toEqual({ outcome: "not due", status: "CREATED" });
    expect(steps).toEqual([]);
    expect(jobs).toMatchObject([{ transition: { to: "PICKED" } }]);
  });

  test("moves the order once, however many run at the same moment", async () => {
    const { pick, executor } = line();
    const id = await createOrder(environment.database);
    const executions = await Promise.all(Array.from({ length: 8 }, () => executor.execute(id, pick, NEVER)));
    expect(executions.filter(({ outcome }) => outcome === "done")).toHaveLength(1);
    expect(await pathOf(id)).toEqual(["CREATED", "PICKED"]);
  });

  test("of an order that its server does not have yet waits until it has", async () => {
    const store = orderStore(environment.database);
    let reads = 0;
    const lagging: typeof store = {
      ...store,
      findOrders: async (ids, known) =>
        ++reads < 4 ? ids.map(() => undefined) : store.findOrders(ids, known),
    };
    const { pick, executor } = line({}, {}, lagging);
    const id = await createOrder(environment.database);
    // The stage's own time limit is shorter than the wait.
    const execution = withinTime(100, undefined, (signal) => executor.execute(id, pick, signal));
    expect(await execution).toEqual({ outcome: "done", status: "PICKED" });
    expect(reads).toBe(4);
  });

  test("of an order that does not exist, however often it is asked for, is permanent", async () => {
    const { pick, executor } = line();
    await expect(executor.execute("01a20691-7a8e-777a-bbfa-0d625ad32c50", pick, NEVER)).rejects.toThrow(
      OrderNotFoundError,
    );
  });
});

function fail(): never {
  throw new Error("the pipeline has two stages");
}
