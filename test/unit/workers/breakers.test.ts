import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import { StageBreakers } from "../../../src/engine/breakers.ts";
import { toldOf } from "../../../src/engine/calls.ts";
import { NoPlaceError, StageUnavailableError } from "../../../src/engine/outage.ts";
import { SuspectPlaces } from "../../../src/engine/suspects.ts";
import { ServiceUnavailableError, type ServiceName } from "../../../src/order/ports.ts";
import { createLogger } from "../../../src/platform/log.ts";
import { NO_PORTS, NO_PROVIDERS } from "../../support/orders.ts";
import { waitFor } from "../../support/wait-for.ts";

const ship = { name: "ship", to: "SHIPPED", run: async () => ({}) };
const PLACES = 2;
const FIVE = ["a", "b", "c", "d", "e"];

let suspects: SuspectPlaces;
let breakers: StageBreakers;
let gate: string;
/** Those that do not answer pings. */
let away: Set<ServiceName>;
/** Those that fail whoever calls them. */
let failing: Set<ServiceName>;
beforeEach(() => {
  suspects = new SuspectPlaces(() => 4 * PLACES);
  away = new Set();
  failing = new Set();
  gate = "open";
  const ping = async (service: ServiceName) => {
    if (away.has(service)) throw new ServiceUnavailableError(service, "no answer");
  };
  breakers = new StageBreakers({
    stages: [ship],
    ports: {
      ...NO_PORTS,
      carrier: { ...NO_PORTS.carrier, ping: () => ping("carrier") },
      payments: { ...NO_PORTS.payments, ping: () => ping("payments") },
    },
    gateOf: () => ({
      shut: () => (gate = "shut"),
      halfOpen: () => (gate = "ajar"),
      open: () => (gate = "open"),
    }),
    suspectsOf: () => suspects,
    probeIntervalMs: 20,
    log: createLogger({ name: "test", level: "silent" }),
  });
});
afterEach(() => breakers.stop());

let orders = 0;

/** What becomes of an order for which the stage calls these services, one after the other. */
async function order(customerId: string, ...services: ("carrier" | "payments")[]): Promise<string> {
  const { signal } = new AbortController();
  const startedAt = performance.now();
  const id = `order-${++orders}`;
  const called = async (service: "carrier" | "payments") => {
    if (away.has(service) || failing.has(service)) throw new ServiceUnavailableError(service, "failed");
  };
  const providers = toldOf({
    ...NO_PROVIDERS,
    payments: { ...NO_PROVIDERS.payments, find: async () => (await called("payments"), undefined) },
    carrier: { ...NO_PROVIDERS.carrier, find: async () => (await called("carrier"), undefined) },
  });
  const parcel = { orderId: id, reference: id, carrierId: null, to: null, signal };
  const payment = { orderId: id, reference: id, id: null, amount: 1, currency: "EUR", signal };
  try {
    await breakers.run({ stage: ship, step: ship, order: { id, customerId } }, signal, async () => {
      for (const service of services)
        await (service === "carrier" ? providers.carrier.find(parcel) : providers.payments.find(payment));
    });
    return "done";
  } catch (error) {
    if (error instanceof StageUnavailableError) return error.message;
    if (!(error instanceof ServiceUnavailableError)) throw error;
    const { service } = error;
    const call = {
      orderId: id,
      customerId,
      service,
      timedOut: false,
      isSuspect: false,
      delays: 0,
      startedAt,
    };
    return (await breakers.judge("ship", call)).cause;
  }
}

describe("a stage that calls two services", () => {
  test("is held for the one that is away, but not for orders that do not call it", async () => {
    away.add("carrier");
    expect(await order("a", "payments", "carrier")).toBe("away");
    expect([gate, breakers.troubles]).toEqual([
      "shut",
      [{ stage: "ship", service: "carrier", trouble: "away", reason: undefined }],
    ]);
    expect(await order("b", "carrier")).toBe("held: carrier does not answer");
    expect(await order("b", "payments")).toBe("done");
    expect(await order("b")).toBe("done");
    // They say nothing of the carrier.
    expect(gate).toBe("shut");
  });

  test("opens only once both are back", async () => {
    away.add("carrier").add("payments");
    expect([await order("a", "carrier"), await order("b", "payments")]).toEqual(["away", "away"]);
    away.delete("payments");
    await waitFor("payments to be tried", () => breakers.troubles[1]?.trouble === "half open");
    expect(await order("b", "payments")).toBe("done");
    expect([gate, breakers.troubleOf("ship")]).toEqual(["shut", "away"]);
    away.delete("carrier");
    await waitFor("the gate to be ajar", () => gate === "ajar");
    expect(await order("b", "payments")).toBe("done");
    expect(gate).toBe("ajar");
    expect(await order("a", "payments", "carrier")).toBe("done");
    expect([gate, breakers.troubleOf("ship")]).toEqual(["open", undefined]);
  });

  test("blames the one that fails everybody, whatever the other one and orders without any do meanwhile", async () => {
    failing.add("carrier");
    for (const customer of FIVE) {
      await order(customer, "payments", "carrier");
      expect(await order(customer, "payments")).toBe("done");
      expect(await order(customer)).toBe("done");
    }
    expect(breakers.troubles).toMatchObject([{ service: "carrier", trouble: "failing" }]);
    expect(await order("f", "carrier")).toBe("failing");
    failing.clear();
    expect(await order("a", "carrier")).toBe("done");
    expect(breakers.troubles).toEqual([]);
  });

  test("has no failing service where each has failed a few", async () => {
    failing.add("carrier").add("payments");
    for (const customer of FIVE.slice(0, 4)) {
      expect(await order(customer, "carrier")).toBe("order");
      expect(await order(customer, "payments")).toBe("order");
    }
    expect(breakers.troubles).toEqual([]);
  });
});

describe("a stage that calls a service by itself", () => {
  const attempt = async (customerId: string, error?: Error) => {
    const { signal } = new AbortController();
    const of = { stage: ship, step: ship, order: { id: customerId, customerId } };
    await breakers.run(of, signal, async () => {
      if (error) throw error;
    });
  };
  const judged = (customerId: string, service: ServiceName | undefined) =>
    breakers.judge("ship", {
      orderId: customerId,
      customerId,
      service,
      timedOut: false,
      isSuspect: false,
      delays: 0,
      startedAt: performance.now(),
    });

  test.each(["carrier", undefined] as const)("(%s) serves when it succeeds", async (service) => {
    for (const customer of FIVE) await judged(customer, service);
    expect(breakers.troubleOf("ship")).toBe("failing");
    await attempt("f");
    expect(breakers.troubleOf("ship")).toBeUndefined();
  });

  test("is held altogether while it is away, until it succeeds", async () => {
    away.add("carrier");
    await judged("a", "carrier");
    await expect(attempt("b")).rejects.toThrow("held: carrier does not answer");
    away.clear();
    await waitFor("the gate to be ajar", () => gate === "ajar");
    await attempt("b");
    expect(gate).toBe("open");
  });
});

test("the orders of a customer whose orders have failed share the places of suspects, and nobody else's do", async () => {
  failing.add("carrier");
  for (let index = 0; index < 2; index++) expect(await order("unlucky", "carrier")).toBe("order");
  failing.clear();
  for (let index = 0; index < PLACES; index++) suspects.take(`failed before ${index}`);
  await expect(order("unlucky", "carrier")).rejects.toThrow(NoPlaceError);
  expect(await order("another", "carrier")).toBe("done");
  expect(suspects.taken).toBe(PLACES);
  suspects.leave("failed before 0");
  expect(await order("unlucky", "carrier")).toBe("done");
  expect(suspects.taken).toBe(PLACES);
});
