import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import { ServiceUnavailableError, type Ports } from "../../../src/order/ports.ts";
import { createLogger } from "../../../src/platform/log.ts";
import { StageBreaker } from "../../../src/engine/breaker.ts";
import { StageUnavailableError } from "../../../src/engine/outage.ts";
import { waitFor } from "../../support/wait-for.ts";

const PROBE_INTERVAL_MS = 20;

let service: { isUp: boolean; answersPings: boolean; pings: (keyof Ports)[] };
let gate: string;
let breaker: StageBreaker;
beforeEach(() => {
  service = { isUp: true, answersPings: true, pings: [] };
  gate = "open";
  breaker = new StageBreaker({
    stage: { name: "pay" },
    gate: {
      shut: () => (gate = "shut"),
      ajar: () => (gate = "ajar"),
      open: () => (gate = "open"),
    },
    ping: async (name) => {
      service.pings.push(name);
      if (!service.answersPings) throw new ServiceUnavailableError(name, "no answer");
    },
    probeIntervalMs: PROBE_INTERVAL_MS,
    log: createLogger({ name: "test", level: "silent" }),
  });
});
afterEach(() => breaker.stop());

/** What becomes of an order of this customer: "done", "failed", or "held" when nobody was asked. */
async function order(customerId: string, isUp = service.isUp): Promise<string> {
  try {
    return await breaker.run({ customerId }, async () => {
      if (!isUp) throw new ServiceUnavailableError("payments", "no answer");
      return "done";
    });
  } catch (error) {
    if (!(error instanceof StageUnavailableError)) throw error;
    expect(error.stage).toBe("pay");
    return error.tried ? "failed" : "held";
  }
}

async function goAway(): Promise<void> {
  service.isUp = false;
  service.answersPings = false;
  for (const customer of ["a", "b", "c", "d", "e"]) expect(await order(customer)).toBe("failed");
}

const until = (state: string) => waitFor(`the gate to be ${state}`, () => gate === state);

describe("a circuit breaker", () => {
  test("holds the stage when orders of five customers in a row find the service away", async () => {
    service.isUp = false;
    for (const customer of ["a", "b", "c", "d"]) await order(customer);
    expect([gate, breaker.isOpen]).toEqual(["open", false]);
    await order("e");
    expect([gate, breaker.isOpen]).toEqual(["shut", true]);
    expect(await order("f")).toBe("held");
  });

  test("is opened by no number of one customer's orders", async () => {
    for (let index = 0; index < 100; index++) expect(await order("unlucky", false)).toBe("failed");
    await Promise.all(Array.from({ length: 100 }, () => order("unlucky", false)));
    expect(breaker.isOpen).toBe(false);
    expect(await order("a")).toBe("done");
  });

  test("counts from the start after a success, of whomever", async () => {
    service.isUp = false;
    for (const customer of ["a", "b", "c", "d"]) await order(customer);
    expect(await order("a", true)).toBe("done");
    for (const customer of ["a", "b", "c", "d"]) await order(customer);
    expect(breaker.isOpen).toBe(false);
    await order("e");
    expect(breaker.isOpen).toBe(true);
  });

  test("is not opened by errors that say nothing of the service, and closes over them", async () => {
    const broken = () =>
      breaker.run({ customerId: String(Math.random()) }, async () =>
        Promise.reject(new TypeError("a fault")),
      );
    for (let index = 0; index < 20; index++) await expect(broken()).rejects.toThrow("a fault");
    expect(breaker.isOpen).toBe(false);
    await goAway();
    service.answersPings = true;
    await until("ajar");
    await expect(broken()).rejects.toThrow("a fault");
    expect([gate, breaker.isOpen]).toEqual(["open", false]);
  });

  test("is opened by attempts whose time has run out", async () => {
    const late = (customerId: string) =>
      breaker.run({ customerId }, () => Promise.reject(new DOMException("late", "TimeoutError")));
    for (const customer of ["a", "b", "c", "d", "e"]) await expect(late(customer)).rejects.toThrow("late");
    expect(breaker.isOpen).toBe(true);
  });

  test("asks the service until it answers, lets one order at a time through, and closes when one succeeds", async () => {
    await goAway();
    await waitFor("a few pings", () => service.pings.length > 3);
    expect([gate, ...new Set(service.pings)]).toEqual(["shut", "payments"]);
    service.answersPings = true;
    await until("ajar");
    expect(breaker.isOpen).toBe(true);
    service.isUp = true;
    expect(await order("f")).toBe("done");
    expect([gate, breaker.isOpen]).toEqual(["open", false]);
  });

  test("holds the stage again when the order that is let through fails, though the service answers pings", async () => {
    await goAway();
    service.answersPings = true;
    await until("ajar");
    expect(await order("f")).toBe("failed");
    expect(gate).toBe("shut");
    await until("ajar");
  });
});

describe("an order that found its service away", () => {
  test("uses up an attempt while nothing says that others do as well", async () => {
    service.answersPings = false;
    await order("a", false);
    expect(await breaker.shouldWait(false)).toBe(false);
    expect(service.pings).toEqual([]);
  });

  test("waits while the service does not answer pings either", async () => {
    await goAway();
    expect(await breaker.shouldWait(false)).toBe(true);
  });

  test("uses up an attempt when the service answers pings: it may be the order", async () => {
    await goAway();
    service.answersPings = true;
    expect(await breaker.shouldWait(false)).toBe(false);
  });

  test("does not come to rest by its last attempt while the service is away, and holds the stage by that", async () => {
    service.answersPings = false;
    await order("a", false);
    expect(await breaker.shouldWait(true)).toBe(true);
    expect([gate, await order("a")]).toEqual(["shut", "held"]);
    service.answersPings = true;
    await until("open");
    expect(await order("a")).toBe("done");
  });

  test("comes to rest by its last attempt when the service is there", async () => {
    await order("a", false);
    expect(await breaker.shouldWait(true)).toBe(false);
    expect(gate).toBe("open");
  });
});
