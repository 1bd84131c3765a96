import { afterEach, beforeEach, expect, test } from "@jest/globals";
import { StageBreakers } from "../../../src/engine/breakers.ts";
import { NoPlaceError } from "../../../src/engine/outage.ts";
import { SuspectPlaces } from "../../../src/engine/suspects.ts";
import { createLogger } from "../../../src/platform/log.ts";
import { NO_PORTS } from "../../support/orders.ts";

const pay = { name: "pay", to: "PAID", run: async () => ({}) };
const PLACES = 2;

let suspects: SuspectPlaces;
let breakers: StageBreakers;
beforeEach(() => {
  suspects = new SuspectPlaces(() => 4 * PLACES);
  breakers = new StageBreakers({
    stages: [pay],
    ports: NO_PORTS,
    gateOf: () => undefined,
    suspectsOf: () => suspects,
    probeIntervalMs: 20,
    log: createLogger({ name: "test", level: "silent" }),
  });
});
afterEach(() => breakers.stop());

const run = (id: string, customerId: string) =>
  breakers.run({ stage: pay, step: pay, order: { id, customerId } }, async () => "done");

test("the orders of a customer whose orders have failed share the places of suspects, and nobody else's do", async () => {
  for (const orderId of ["one", "two"]) {
    const call = {
      orderId,
      customerId: "unlucky",
      service: undefined,
      timedOut: false,
      isSuspect: false,
      delays: 0,
    };
    expect(await breakers.judge("pay", { ...call, startedAt: performance.now() })).toEqual({
      cause: "order",
    });
  }
  for (let index = 0; index < PLACES; index++) suspects.take(`failed before ${index}`);
  await expect(run("three", "unlucky")).rejects.toThrow(NoPlaceError);
  expect(await run("healthy", "another")).toBe("done");
  expect(suspects.taken).toBe(PLACES);
  suspects.leave("failed before 0");
  expect(await run("three", "unlucky")).toBe("done");
  expect(suspects.taken).toBe(PLACES);
});
