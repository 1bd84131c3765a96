import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, jest, test } from "@jest/globals";
import { ServiceUnavailableError, type ServiceName } from "../../../src/order/ports.ts";
import { createLogger } from "../../../src/platform/log.ts";
import { ServiceBreaker, type FailedCall } from "../../../src/engine/breaker.ts";
import { StageUnavailableError } from "../../../src/engine/outage.ts";
import { Pings } from "../../../src/engine/pings.ts";
import { waitFor } from "../../support/wait-for.ts";

const PROBE_INTERVAL_MS = 20;
const FIVE = ["a", "b", "c", "d", "e"];

let service: {
  isUp: boolean;
  answersPings: boolean;
  pings: ServiceName[];
  pingTakesMs: number;
};
let gate: string;
let breaker: ServiceBreaker;
let orders: number;
beforeEach(() => {
  service = { isUp: true, answersPings: true, pings: [], pingTakesMs: 0 };
  gate = "open";
  orders = 0;
  breaker = new ServiceBreaker({
    stage: { name: "pay" },
    service: "payments",
    gate: {
      shut: () => (gate = "shut"),
      halfOpen: () => (gate = "ajar"),
      open: () => (gate = "open"),
    },
    pings: new Pings(async (name) => {
      service.pings.push(name);
      if (service.pingTakesMs > 0) await sleep(service.pingTakesMs);
      if (!service.answersPings) throw new ServiceUnavailableError(name, "no answer");
    }),
    probeIntervalMs: PROBE_INTERVAL_MS,
    log: createLogger({ name: "test", level: "silent" }),
    random: () => 1,
  });
});
afterEach(() => breaker.stop());

/** Begins something at a moment that is so many milliseconds from now. */
function later<T>(milliseconds: number, begin: () => T): T {
  const now = jest.spyOn(performance, "now").mockReturnValue(performance.now() + milliseconds);
  try {
    return begin();
  } finally {
    now.mockRestore();
  }
}

/** An attempt that calls the service at once. */
async function run<T>(customer: { customerId: string }, work: () => Promise<T>): Promise<T> {
  const call = breaker.begin(customer);
  try {
    const result = await work();
    call.succeeded();
    return result;
  } catch (error) {
    call.failed(error);
    throw error;
  }
}

/** What becomes of an order of this customer: "done", "held" when nobody was asked, or what it is taken to fail of. */
async function order(customerId: string, given: Partial<FailedCall> & { isUp?: boolean } = {}) {
  const { isUp = service.isUp, ...call } = given;
  const startedAt = performance.now();
  const attempt = run({ customerId }, async () => {
    if (!isUp) throw new ServiceUnavailableError("payments", "no answer");
    return "done";
  });
  try {
    return await attempt;
  } catch (error) {
    if (error instanceof StageUnavailableError) return "held";
    const orderId = given.orderId ?? `order-${++orders}`;
    const failed = {
      orderId,
      customerId,
      service: "payments",
      timedOut: false,
      isSuspect: false,
      delays: 0,
    } as const;
    return (await breaker.judge({ ...failed, startedAt, ...call })).cause;
  }
}

async function goAway(): Promise<void> {
  service.isUp = false;
  service.answersPings = false;
  expect(await order("first")).toBe("away");
}

const until = (state: string) => waitFor(`the gate to be ${state}`, () => gate === state);

describe("a service that does not answer pings", () => {
  test("costs no order an attempt, not even those that find out, and holds the stage at once", async () => {
    service.isUp = false;
    service.answersPings = false;
    expect(await Promise.all(FIVE.map((customer) => order(customer)))).toEqual(FIVE.map(() => "away"));
    expect([gate, breaker.trouble]).toEqual(["shut", "away"]);
    expect(await order("f")).toBe("held");
  });

  test("makes nobody suspected", async () => {
    await goAway();
    service.answersPings = true;
    await until("ajar");
    expect(breaker.suspects({ customerId: "first" })).toBe(false);
  });

  test("is excused also by an answer that comes when it is back already", async () => {
    const startedAt = performance.now();
    await goAway();
    service.answersPings = true;
    await until("ajar");
    expect(await order("slow", { isUp: false, startedAt })).toBe("away");
    expect(await order("later", { isUp: false })).toBe("order");
  });

  test("is asked until it answers; then a share of the orders goes on, and the first that succeeds lets all", async () => {
    await goAway();
    await waitFor("a few pings", () => service.pings.length > 3);
    expect([gate, ...new Set(service.pings)]).toEqual(["shut", "payments"]);
    service.answersPings = true;
    await until("ajar");
    expect(breaker.trouble).toBe("half open");
    service.isUp = true;
    expect(await order("f")).toBe("done");
    expect([gate, breaker.trouble]).toEqual(["open", undefined]);
  });

  test("is not taken for away again by probes that fail while it answers pings", async () => {
    await goAway();
    service.answersPings = true;
    await until("ajar");
    expect(await order("poisoned")).toBe("order");
    expect([gate, breaker.trouble]).toEqual(["ajar", "half open"]);
    expect(await order("healthy", { isUp: true })).toBe("done");
    expect(gate).toBe("open");
  });

  test("is taken for away again when it does not answer after all", async () => {
    await goAway();
    service.answersPings = true;
    await until("ajar");
    service.answersPings = false;
    expect(await order("a")).toBe("away");
    expect(gate).toBe("shut");
  });
});

describe("a service that is not set up right", () => {
  const NOT_FOUND = "stage fraud-check answered 404";
  const wrong = (orderId: string, given: Partial<FailedCall> = {}) =>
    order(orderId, { isUp: false, orderId, misconfigured: NOT_FOUND, ...given });

  test("costs no order an attempt, holds the stage without a ping, and says why", async () => {
    expect(await Promise.all(FIVE.map((id) => wrong(id)))).toEqual(FIVE.map(() => "away"));
    expect([gate, breaker.trouble, breaker.reason]).toEqual(["shut", "misconfigured", NOT_FOUND]);
    expect(service.pings).toEqual([]);
    await expect(run({ customerId: "f" }, async () => "done")).rejects.toThrow(`held: ${NOT_FOUND}`);
  });

  test("is tried with a share of the orders now and then, and takes all once it is mended", async () => {
    await wrong("a");
    for (let tries = 0; tries < 3; tries++) {
      await until("ajar");
      expect([breaker.trouble, breaker.reason]).toEqual(["misconfigured", NOT_FOUND]);
      expect(await wrong("a")).toBe("away");
      expect(gate).toBe("shut");
    }
    await until("ajar");
    expect(await order("a")).toBe("done");
    expect([gate, breaker.trouble, breaker.reason]).toEqual(["open", undefined, undefined]);
  });

  test("leaves the trouble to an order that alone is answered like this", async () => {
    expect(await wrong("odd")).toBe("away");
    await until("ajar");
    expect(await order("even")).toBe("done");
    expect(await wrong("odd")).toBe("order");
    expect([gate, breaker.trouble]).toEqual(["open", undefined]);
    const startedAt = performance.now();
    expect(await order("even")).toBe("done");
    expect(await wrong("other", { startedAt })).toBe("order");
  });
});

describe("a service that answers pings", () => {
  test("never holds the stage, whoever fails", async () => {
    for (let index = 0; index < 100; index++) await order(`customer-${index}`, { isUp: false });
    expect(gate).toBe("open");
  });

  test("leaves the trouble to the order while others succeed", async () => {
    for (let index = 0; index < 20; index++) {
      expect(await order(`poisoned-${index}`, { isUp: false })).toBe("order");
      expect(await order(`poisoned-${index}-too`, { isUp: false })).toBe("order");
      expect(await order(`healthy-${index}`)).toBe("done");
    }
    expect(breaker.trouble).toBeUndefined();
  });

  test("and fails orders of five customers in a row costs no attempt, and each order waits longer", async () => {
    for (const customer of FIVE.slice(1)) expect(await order(customer, { isUp: false })).toBe("order");
    expect(await order("e2", { isUp: false })).toBe("failing");
    expect([gate, breaker.trouble]).toEqual(["open", "failing"]);
    const waits = [0, 1, 2, 30].map((delays) =>
      breaker.judge({
        orderId: "o",
        customerId: "f",
        service: "payments",
        startedAt: performance.now(),
        timedOut: false,
        isSuspect: true,
        delays,
      }),
    );
    expect(await Promise.all(waits)).toEqual(
      [20, 40, 80, 300_000].map((waitMs) => ({ cause: "failing", waitMs })),
    );
  });

  test("fails its orders by themselves again after a success, of whomever", async () => {
    for (const customer of [...FIVE, "f"]) await order(customer, { isUp: false });
    expect(breaker.trouble).toBe("failing");
    expect(await order("a")).toBe("done");
    expect(breaker.trouble).toBeUndefined();
    expect(await order("b", { isUp: false })).toBe("order");
  });

  test("is not blamed for any number of one customer's orders", async () => {
    for (let index = 0; index < 100; index++) expect(await order("unlucky", { isUp: false })).toBe("order");
    expect(await order("a")).toBe("done");
  });

  test("is not blamed for orders that are suspected already", async () => {
    for (let index = 0; index < 100; index++)
      expect(await order(`resumed-${index}`, { isUp: false, isSuspect: true })).toBe("order");
  });

  test("is not taken for failing any more when nothing has failed for a quarter of an hour", async () => {
    for (const customer of FIVE) await order(customer, { isUp: false });
    expect(breaker.trouble).toBe("failing");
    later(899_000, () => expect(breaker.trouble).toBe("failing"));
    later(901_000, () => expect(breaker.trouble).toBeUndefined());
    expect(await order("f", { isUp: false })).toBe("order");
  });
});

describe("a service that answers pings again after it has hung", () => {
  /** An order that fails after so many seconds with no answer, while others do what they do. */
  const hung = (seconds: number, given: Partial<FailedCall> = {}) =>
    order("first", { isUp: false, startedAt: performance.now() - seconds * 1_000, timedOut: true, ...given });
  /** A call that hangs until the test lets it go, begun so many seconds ago. */
  function open(customerId: string, seconds: number): () => Promise<void> {
    let answer: () => void = () => undefined;
    const work = () => new Promise<void>((resolve) => (answer = resolve));
    const call = later(-seconds * 1_000, () => run({ customerId }, work));
    return () => (answer(), call);
  }

  test("excuses an order once whose call hung beside another customer's, while nobody was served", async () => {
    const answer = open("second", 3);
    expect(await hung(5)).toBe("failing");
    expect([gate, breaker.trouble]).toEqual(["open", undefined]);
    expect(await hung(5, { isSuspect: true })).toBe("order");
    await answer();
  });

  test("excuses also the last one of those that hung and failed at the same moment", async () => {
    const startedAt = performance.now() - 5_000;
    for (const customerId of ["a", "b", "c"]) await order(customerId, { isUp: false, startedAt });
    expect(await order("d", { isUp: false, startedAt })).toBe("failing");
  });

  test("excuses both of two customers' orders that give up at the same moment, though one is served before the ping is answered", async () => {
    service.pingTakesMs = 100;
    const startedAt = performance.now() - 5_000;
    let giveUp: (error: Error) => void = () => undefined;
    const hanging = new Promise<never>((_resolve, reject) => (giveUp = reject));
    const verdicts = ["a", "b"].map((customerId) => {
      const call = { customerId, service: "payments", timedOut: true, isSuspect: false, delays: 0 } as const;
      return later(-5_000, () => run({ customerId }, () => hanging)).catch(() =>
        breaker.judge({ ...call, orderId: customerId, startedAt }),
      );
    });
    giveUp(new ServiceUnavailableError("payments", "no answer"));
    await new Promise(setImmediate);
    await order("served");
    expect(await Promise.all(verdicts)).toMatchObject([{ cause: "failing" }, { cause: "failing" }]);
  });

  test("does not excuse an order that hung while others were served", async () => {
    const answer = open("second", 3);
    await order("served");
    expect(await hung(5)).toBe("order");
    await answer();
  });

  test("does not excuse an order that hung beside none but its customer's", async () => {
    const answer = open("first", 3);
    expect(await hung(5)).toBe("order");
    await answer();
  });

  test("does not excuse what failed at once", async () => {
    const answer = open("second", 3);
    expect(await hung(0.5)).toBe("order");
    await answer();
  });

  test("does not excuse what had others beside it for a moment only", async () => {
    const answer = open("second", 0.5);
    expect(await hung(5)).toBe("order");
    await answer();
  });

  test("excuses the only order of the day by a ping that is answered late", async () => {
    service.pingTakesMs = 600;
    expect(await hung(5)).toBe("failing");
    service.pingTakesMs = 0;
    expect(await hung(5, { isSuspect: true })).toBe("order");
    expect(await order("later", { isUp: false })).toBe("order");
  });

  test("does not excuse an order that was answered, however late the ping is", async () => {
    service.pingTakesMs = 600;
    expect(await hung(5, { timedOut: false })).toBe("order");
  });
});

describe("a customer", () => {
  test("is forgotten when so many others have failed that memory would grow without end", async () => {
    for (const orderId of ["one", "two"]) await order("unlucky", { isUp: false, orderId });
    for (let index = 1; index < 10_000; index++) await order(`other-${index}`, { isUp: false });
    expect(breaker.suspects({ customerId: "unlucky" })).toBe(true);
    await order("one more", { isUp: false });
    expect(breaker.suspects({ customerId: "unlucky" })).toBe(false);
  });

  test("is suspected when two orders have failed, until one succeeds", async () => {
    const unlucky = { customerId: "unlucky" };
    await order("unlucky", { isUp: false, orderId: "one" });
    await order("unlucky", { isUp: false, orderId: "one" });
    expect(breaker.suspects(unlucky)).toBe(false);
    await order("unlucky", { isUp: false, orderId: "two" });
    expect(breaker.suspects(unlucky)).toBe(true);
    expect(breaker.suspects({ customerId: "another" })).toBe(false);
    await order("another");
    expect(breaker.suspects(unlucky)).toBe(true);
    await order("unlucky");
    expect(breaker.suspects(unlucky)).toBe(false);
  });
});

test("an error that says nothing of the service holds nothing, and shows that the service is there", async () => {
  const broken = () => run({ customerId: "a" }, async () => Promise.reject(new TypeError("a fault")));
  for (let index = 0; index < 20; index++) await expect(broken()).rejects.toThrow("a fault");
  expect([gate, breaker.trouble]).toEqual(["open", undefined]);
  await goAway();
  service.answersPings = true;
  await until("ajar");
  await expect(broken()).rejects.toThrow("a fault");
  expect(gate).toBe("open");
});

test("an attempt that is ended from outside shows nothing of the service", async () => {
  await goAway();
  service.answersPings = true;
  await until("ajar");
  const ended = run({ customerId: "a" }, () => Promise.reject("the worker is shutting down"));
  await expect(ended).rejects.toBe("the worker is shutting down");
  expect(gate).toBe("ajar");
});
