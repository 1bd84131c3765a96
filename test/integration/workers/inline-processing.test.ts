import { afterAll, afterEach, beforeAll, describe, expect, test } from "@jest/globals";
import { DatabaseError } from "../../../db/errors.ts";
import { clearFailed } from "../../../db/failures.ts";
import { requestCancellation } from "../../../db/cancellations.ts";
import { createLogger } from "../../../src/platform/log.ts";
import { CREATED, Lifecycle } from "../../../src/order/lifecycle.ts";
import { NotNowError, ServiceUnavailableError } from "../../../src/order/ports.ts";
import { reject, snooze, type Stage, type StageSettings } from "../../../src/order/stage.ts";
import { InlineProcessing, type InlineProcessingOptions } from "../../../src/engine/inline/processing.ts";
import { FailureLog } from "../../../src/engine/failure-log.ts";
import { BatchingStore } from "../../../src/engine/batching-store.ts";
import { orderStore } from "../../../db/order-store.ts";
import { createTestEnvironment, type TestEnvironment } from "../../support/environment.ts";
import { createOrder, newOrder, NO_PORTS, readOrder, statusesOf } from "../../support/orders.ts";
import { waitFor } from "../../support/wait-for.ts";

let environment: TestEnvironment;
beforeAll(async () => {
  environment = await createTestEnvironment();
});
afterAll(() => environment.close());

/** What a test has opened. */
const opened: InlineProcessing[] = [];
afterEach(async () => {
  for (const each of opened.splice(0)) {
    each.endWithin(0);
    await each.idle();
  }
});

type Name = "pick" | "pack" | "post";

/** A line of three stages whose steps are written down, over the real store. */
function line(
  given: { [Each in Name]?: Partial<Stage> } = {},
  {
    probeIntervalMs = 5,
    ...overrides
  }: Partial<StageSettings & Pick<InlineProcessingOptions, "probeIntervalMs">> = {},
) {
  const steps: string[] = [];
  const stage = (name: Name, to: string, more: Partial<Stage> = {}): Stage => ({
    name,
    to,
    run: async () => {
      steps.push(`run ${name}`);
      return { by: name };
    },
    undo: async () => {
      steps.push(`undo ${name}`);
      return { undone: true };
    },
    ...more,
    ...given[name],
  });
  const lifecycle = new Lifecycle([
    stage("pick", "PICKED"),
    stage("pack", "PACKED", { pointOfNoReturn: true }),
    stage("post", "POSTED"),
  ]);
  const { database } = environment;
  const store = new BatchingStore({ store: orderStore(database) });
  let loads = 0;
  /** What a process has; another call is another process. */
  const open = () => {
    const processing = new InlineProcessing({
      lifecycle,
      ports: NO_PORTS,
      store: {
        load: (orderId) => {
          loads++;
          return store.load(orderId);
        },
        applyTransition: (change) => store.applyTransition(change),
        requestCancellation: (request) => store.requestCancellation(request),
        markWaiting: (wait) => store.markWaiting(wait),
        clearFailed: (orderId) => store.clearFailed(orderId),
      },
      failures: new FailureLog({ store: orderStore(database), lifecycle }),
      overrides: { attempts: 3, backoff: { delay: 1, jitter: 0 }, ...overrides },
      probeIntervalMs,
      log: createLogger({ name: "test", level: "silent" }),
    });
    opened.push(processing);
    return processing;
  };
  /** As the sweeper asks for it. */
  const reviveIn = async (processing: InlineProcessing, orderId: string) => {
    const transition = lifecycle.due((await readOrder(database, orderId)).status);
    if (transition === undefined) throw new Error(`${orderId} has ended`);
    return processing.revive([{ orderId, transition }]);
  };
  const replaceIn = async (processing: InlineProcessing, orderId: string) => {
    const { status } = await readOrder(database, orderId);
    const [due, cancelling] = [lifecycle.due(status), lifecycle.cancelling(status)];
    if (due === undefined || cancelling === undefined) throw new Error(`${orderId} can't be cancelled`);
    await processing.replace([
      { job: { orderId, transition: due }, by: { orderId, transition: cancelling } },
    ]);
  };
  return { steps, loads: () => loads, processing: open(), open, reviveIn, replaceIn };
}

const place = () => createOrder(environment.database);
const read = (id: string) => readOrder(environment.database, id);
const pathOf = (id: string) => statusesOf(environment.database, id);
const until = (id: string, status: string) =>
  waitFor(`${id} in ${status}`, async () => (await read(id)).status === status);
const cancel = (orderId: string, ...whileIn: string[]) =>
  requestCancellation(environment.database, { orderId, whileIn, reason: "changed my mind", at: new Date() });

/** Something that fails until it is told to work. */
function failing(error: () => Error = () => new Error("no answer")) {
  const state = { works: false, tries: 0 };
  const attempt = async () => {
    state.tries++;
    if (!state.works) throw error();
    return {};
  };
  return Object.assign(attempt, { state });
}

const away = () => new ServiceUnavailableError("carrier", "the carrier is away");

describe("an order", () => {
  test("is carried through all stages in one go, and told as it stands then", async () => {
    const { processing, steps } = line();
    const id = await place();
    const processed = await processing.process(id);
    expect(processed).toEqual({ outcome: "processed", order: await read(id) });
    expect(processed.order).toMatchObject({
      status: "POSTED",
      records: { pick: { by: "pick" }, pack: { by: "pack" }, post: { by: "post" } },
    });
    expect(steps).toEqual(["run pick", "run pack", "run post"]);
    expect(await pathOf(id)).toEqual(["CREATED", "PICKED", "PACKED", "POSTED"]);
  });

  test("is not read again before each stage, and each sees what those before have left", async () => {
    const seen: unknown[] = [];
    const look: Partial<Stage> = {
      run: async (order) => {
        seen.push(order.records);
        return { by: "somebody" };
      },
    };
    const { processing, loads } = line({ pick: look, pack: look, post: look });
    const { idempotency: _, ...order } = newOrder();
    await createOrder(environment.database, order);
    const created = {
      status: CREATED,
      failed: null,
      waiting: null,
      wokenAt: null,
      holds: [],
      changedAt: null,
      cancellation: null,
      updatedAt: order.createdAt,
      records: {},
    };
    await processing.process(order.id, { ...order, ...created });
    expect(seen).toEqual([
      {},
      { pick: { by: "somebody" } },
      { pick: { by: "somebody" }, pack: { by: "somebody" } },
    ]);
    // For the answer.
    expect(loads()).toBe(1);
  });

  test("is carried on from where it stands, and left alone when it has ended", async () => {
    let broken = true;
    const { processing, open, steps } = line({
      post: {
        run: async () => {
          if (broken) throw away();
          return { by: "post" };
        },
      },
    });
    const id = await place();
    expect(await processing.process(id)).toMatchObject({ outcome: "processed", order: { status: "PACKED" } });
    processing.endWithin(0);
    broken = false;
    const next = open();
    expect(await next.process(id)).toMatchObject({ order: { status: "POSTED" } });
    expect(await next.process(id)).toMatchObject({ order: { status: "POSTED" } });
    expect(steps).toEqual(["run pick", "run pack"]);
  });

  test("that many ask for at once is carried on once, and all get the same answer", async () => {
    const { processing, steps } = line();
    const id = await place();
    const answers = await Promise.all(Array.from({ length: 20 }, () => processing.process(id)));
    for (const answer of answers) expect(answer).toEqual(answers[0]);
    expect(steps).toEqual(["run pick", "run pack", "run post"]);
  });

  test("is moved once by several processes", async () => {
    const { open } = line();
    const id = await place();
    const answers = await Promise.all(Array.from({ length: 6 }, () => open().process(id)));
    for (const answer of answers) {
      expect(answer).toMatchObject({ outcome: "processed", order: { status: "POSTED" } });
    }
    expect(await pathOf(id)).toEqual(["CREATED", "PICKED", "PACKED", "POSTED"]);
  });

  test("that a stage rejects is cancelled, and was processed all the same", async () => {
    const { processing, steps } = line({ pack: { run: async () => reject("too heavy") } });
    const id = await place();
    expect(await processing.process(id)).toMatchObject({
      outcome: "processed",
      order: { status: "CANCELLED", cancellation: { reason: "too heavy" } },
    });
    expect(steps).toEqual(["run pick", "undo pack", "undo pick"]);
  });

  test("that a stage puts off is told as it stands, and goes on by itself", async () => {
    let ready = false;
    const { processing } = line({ post: { run: async () => (ready ? {} : snooze(5)) } });
    const id = await place();
    expect(await processing.process(id)).toMatchObject({ outcome: "processed", order: { status: "PACKED" } });
    ready = true;
    await until(id, "POSTED");
  });
});

test("a stage, or its undo, whose service says that it can't now goes on by itself after that time", async () => {
  let busy = 2;
  const run = async () => {
    if (busy-- > 0) throw new NotNowError("busy", 5);
    return {};
  };
  const { processing } = line({ pick: { run } });
  const id = await place();
  expect((await processing.process(id)).order.status).toBe("CREATED");
  await until(id, "POSTED");

  let busyUndo = 2;
  const undo = async () => {
    if (busyUndo-- > 0) throw new NotNowError("busy", 5);
    return {};
  };
  const other = line({ pick: { undo }, pack: { run: async () => reject("sold out") } });
  const rejected = await place();
  await other.processing.process(rejected);
  await until(rejected, "CANCELLED");
});

describe("a stage that fails", () => {
  test("is tried once; what was done is undone in reverse, and the order cancelled with the reason", async () => {
    const run = failing();
    const { processing, steps } = line({ pack: { run } });
    const id = await place();
    const reason = "pack failed: no answer";
    expect(await processing.process(id)).toMatchObject({
      outcome: "failed",
      reason,
      order: { status: "CANCELLED", failed: null, cancellation: { reason } },
    });
    expect(run.state.tries).toBe(1);
    expect(steps).toEqual(["run pick", "undo pack", "undo pick"]);
  });

  test("is told to all who wait for the order, and to nobody who asks later", async () => {
    const { processing } = line({ pack: { run: failing() } });
    const id = await place();
    const answers = await Promise.all(Array.from({ length: 5 }, () => processing.process(id)));
    expect(new Set(answers.map(({ outcome }) => outcome))).toEqual(new Set(["failed"]));
    expect(await processing.process(id)).toMatchObject({
      outcome: "processed",
      order: { status: "CANCELLED" },
    });
  });

  test("is not waited for when its time is up", async () => {
    const { processing } = line({ pick: { run: () => new Promise(() => {}) } }, { timeout: 50 });
    const id = await place();
    expect(await processing.process(id)).toMatchObject({
      outcome: "failed",
      reason: "pick failed: took longer than 50 ms",
      order: { status: "CANCELLED" },
    });
  });

  test("does not tell the customer's secrets", async () => {
    const { processing } = line({
      pick: { run: async (order) => Promise.reject(new Error(`cannot charge ${order.paymentToken}`)) },
    });
    const id = await createOrder(environment.database, { paymentToken: "tok_secret" });
    expect(await processing.process(id)).toMatchObject({ reason: "pick failed: cannot charge [redacted]" });
  });

  test("does not have an order cancelled that another process has moved on meanwhile", async () => {
    const { processing, open } = line({
      pick: {
        run: async (order) => {
          if (opened.length === 1) {
            await open().process(order.id);
            throw new Error("too late");
          }
          return { by: "pick" };
        },
      },
    });
    const id = await place();
    expect(await processing.process(id)).toMatchObject({
      outcome: "processed",
      order: { status: "POSTED", cancellation: null },
    });
  });

  test("after the point of no return is tried again while its service is away, as often as it takes", async () => {
    const run = failing(away);
    const { processing } = line({ post: { run } });
    const id = await place();
    expect(await processing.process(id)).toMatchObject({
      outcome: "processed",
      order: { status: "PACKED", cancellation: null, failed: null },
    });
    await waitFor("more tries than attempts", () => run.state.tries > 10);
    run.state.works = true;
    await until(id, "POSTED");
  });

  test("after the point of no return and by its own fault waits for a person after its attempts", async () => {
    const run = failing();
    const { processing, reviveIn } = line({ post: { run } });
    const id = await place();
    await processing.process(id);
    await waitFor("the order to rest", async () => (await read(id)).failed !== null);
    expect(await read(id)).toMatchObject({
      status: "PACKED",
      failed: { stage: "post", reason: "no answer" },
    });
    expect(run.state.tries).toBe(3);

    run.state.works = true;
    await clearFailed(environment.database, id);
    expect(await reviveIn(processing, id)).toBe(1);
    expect(await read(id)).toMatchObject({ status: "POSTED", failed: null });
  });
});

describe("what can't be undone at once", () => {
  test("is undone when the service is back; all else is undone at once", async () => {
    const undo = failing(away);
    const { processing, steps } = line({ pack: { run: failing(away), undo } });
    const id = await place();
    expect(await processing.process(id)).toMatchObject({
      outcome: "failed",
      reason: "pack failed: the carrier is away",
      order: { status: "PICKED", cancellation: { reason: "pack failed: the carrier is away" } },
    });
    expect(steps).toEqual(["run pick", "undo pick"]);
    await waitFor("more tries than attempts", () => undo.state.tries > 10);
    undo.state.works = true;
    await until(id, "CANCELLED");
    expect((await read(id)).failed).toBeNull();
  });

  test("waits for a person after as many attempts as there are, and can be resumed", async () => {
    const undo = failing();
    const { processing, replaceIn } = line({ pack: { run: async () => reject("too heavy"), undo } });
    const id = await place();
    // The order's fate is known.
    expect(await processing.process(id)).toMatchObject({
      outcome: "processed",
      order: { status: "PICKED", cancellation: { reason: "too heavy" } },
    });
    await waitFor("the order to rest", async () => (await read(id)).failed !== null);
    expect(await read(id)).toMatchObject({ failed: { stage: "cancel", reason: "no answer" } });

    undo.state.works = true;
    await clearFailed(environment.database, id);
    await replaceIn(processing, id);
    expect(await read(id)).toMatchObject({ status: "CANCELLED", failed: null });
  });
});

describe("a cancellation that is asked for", () => {
  const asked = async (id: string) => expect(await cancel(id, CREATED, "PICKED")).toBe(true);

  test("while a stage runs is found at its end: the stage is undone, and none after it begins", async () => {
    const { processing, steps } = line({
      pick: {
        run: async (order) => {
          await asked(order.id);
          return { by: "pick" };
        },
      },
    });
    const id = await place();
    expect(await processing.process(id)).toMatchObject({
      outcome: "processed",
      order: { status: "CANCELLED", cancellation: { reason: "changed my mind" } },
    });
    expect(steps).toEqual(["undo pick"]);
    expect(await pathOf(id)).toEqual(["CREATED", "CANCELLED"]);
  });

  test("while a stage fails is what the order is cancelled for", async () => {
    const { processing } = line({
      pick: {
        run: async (order) => {
          await asked(order.id);
          throw new Error("no answer");
        },
      },
    });
    expect(await processing.process(await place())).toMatchObject({
      outcome: "processed",
      order: { status: "CANCELLED", cancellation: { reason: "changed my mind" } },
    });
  });

  test("while the order waits for its time is carried out at once", async () => {
    const { processing, replaceIn, steps } = line({ pick: { run: async () => snooze(3_600_000) } });
    const id = await place();
    await processing.process(id);
    await asked(id);
    await replaceIn(processing, id);
    expect(await read(id)).toMatchObject({ status: "CANCELLED" });
    expect(steps).toEqual(["undo pick"]);
  });

  test("and can't be undone yet is not tried again before its time, however often it is asked for", async () => {
    const undo = failing(away);
    const { processing, replaceIn } = line(
      { pick: { run: async () => snooze(3_600_000), undo } },
      { probeIntervalMs: 3_600_000 },
    );
    const id = await place();
    await processing.process(id);
    await asked(id);
    await replaceIn(processing, id);
    expect(undo.state.tries).toBe(1);
    await replaceIn(processing, id);
    expect(undo.state.tries).toBe(1);
  });
});

describe("orders that were left", () => {
  test("are carried on, unless that is under way, or they wait for their time", async () => {
    const { processing, reviveIn } = line({
      pick: {
        run: async (order) => {
          expect(await reviveIn(processing, order.id)).toBe(0);
          return { by: "pick" };
        },
      },
      post: { run: async () => snooze(3_600_000) },
    });
    const id = await place();
    expect(await processing.process(id)).toMatchObject({ order: { status: "PACKED" } });
    expect(await reviveIn(processing, id)).toBe(0);
    processing.endWithin(0);
  });

  test("do not keep each other from being carried on", async () => {
    const { processing, steps } = line({
      pick: {
        run: async (order) => {
          if (order.customerId === "unlucky") throw new Error("no answer");
          return { by: "pick" };
        },
      },
    });
    const ids = await Promise.all(
      Array.from({ length: 30 }, (_, index) =>
        createOrder(environment.database, { customerId: index % 3 === 0 ? "unlucky" : "cust-1" }),
      ),
    );
    const transition = { step: { name: "pick" }, from: CREATED, to: "PICKED" };
    expect(await processing.revive(ids.map((orderId) => ({ orderId, transition })))).toBe(30);
    const statuses = await Promise.all(ids.map(async (id) => (await read(id)).status));
    expect(statuses).toEqual(ids.map((_, index) => (index % 3 === 0 ? "CANCELLED" : "POSTED")));
    expect(steps.filter((step) => step === "run post")).toHaveLength(20);
  });
});

test("orders that can't be undone leave most places to others", async () => {
  let atOnce = 0;
  let most = 0;
  let isAway = true;
  const tries = new Map<string, number>();
  const { processing, replaceIn } = line({
    pick: {
      undo: async ({ id, customerId }) => {
        if (customerId !== "unlucky") return {};
        // The first two are of the run that the client waits for: the stage's no, and what follows from it.
        const isAgain = (tries.get(id) ?? 0) >= 2;
        tries.set(id, (tries.get(id) ?? 0) + 1);
        if (isAgain) most = Math.max(most, ++atOnce);
        await new Promise((resolve) => setTimeout(resolve, 20));
        if (isAgain) atOnce--;
        if (isAway) throw away();
        return {};
      },
    },
    pack: { run: async () => reject("not today") },
  });
  const customers = Array.from({ length: 20 }, () => "unlucky");
  const ids = await Promise.all(
    customers.map((customerId) => createOrder(environment.database, { customerId })),
  );
  await Promise.all(ids.map((id) => processing.process(id)));
  await waitFor("each to be tried again", () => ids.every((id) => (tries.get(id) ?? 0) >= 4));
  const other = await place();
  await cancel(other, CREATED);
  await replaceIn(processing, other);
  expect((await read(other)).status).toBe("CANCELLED");
  isAway = false;
  for (const id of ids) await until(id, "CANCELLED");
  expect(most).toBeLessThanOrEqual(2);
});

test("a process that shuts down leaves orders where they stand, and cancels none", async () => {
  let running: () => void = () => {};
  const begun = new Promise<void>((resolve) => (running = resolve));
  const { processing, steps } = line({
    pack: {
      run: () => {
        running();
        return new Promise(() => {});
      },
    },
  });
  const id = await place();
  const processed = processing.process(id);
  await begun;
  processing.endWithin(10);
  expect(await processed).toMatchObject({
    outcome: "accepted",
    order: { status: "PICKED", cancellation: null, failed: null },
  });
  expect(steps).toEqual(["run pick"]);
  await processing.idle();
});

test.each([
  ["a statement that was killed", new DatabaseError("ER_QUERY_INTERRUPTED", 1317)],
  ["a row that others have locked", new DatabaseError("ER_LOCK_WAIT_TIMEOUT", 1205)],
  ["a read-only MySQL", new DatabaseError("ER_OPTION_PREVENTS_STATEMENT", 1290)],
])("%s cancels no order: it goes on a little later", async (_, error) => {
  let tries = 0;
  const { processing } = line({
    pick: {
      run: async () => {
        if (++tries === 1) throw error;
        return {};
      },
    },
  });
  const id = await place();
  const { outcome } = await processing.process(id);
  expect(outcome).toBe("accepted");
  await until(id, "POSTED");
  expect(tries).toBe(2);
  expect(await pathOf(id)).toEqual(["CREATED", "PICKED", "PACKED", "POSTED"]);
});
