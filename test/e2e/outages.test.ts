import { afterEach, beforeEach, describe, expect, jest, test } from "@jest/globals";
import type { Provider } from "../../tools/simulators/providers.ts";
import { PLAIN_ORDER } from "../support/client.ts";
import { startLine, type TestLine } from "../support/line.ts";
import { scrape } from "../support/metrics.ts";
import { untilLogged, type TestProcess } from "../support/processes.ts";
import { waitFor } from "../support/wait-for.ts";

jest.setTimeout(180_000);

/**
 * All attempts of a stage are over within 31 ms of waiting, and an outage lasts for at least 40 looks of 50 ms: some 60
 * times as long. At the usual settings, where they take four minutes, that would be four hours.
 */
const LOOKS = 40;
const HELD = "circuit open: the stage is held";

let line: TestLine;
let worker: TestProcess;
beforeEach(async () => {
  line = await startLine({
    workers: 0,
    env: {
      STAGE_ATTEMPTS: "6",
      STAGE_BACKOFF_MS: "1",
      PROBE_INTERVAL_MS: "50",
      LOG_LEVEL: "debug",
      METRICS_PORT: "0",
    },
  });
  worker = await line.addWorker();
  await line.client.put("/stock/MUG-BLUE", { onHand: 10_000 });
});
afterEach(() => line.close());

const place = (given: object = {}) => line.client.order({ ...PLAIN_ORDER, ...given });
const switched = (provider: Provider, state: "up" | "down") =>
  line.environment.providers.setFault(provider, { kind: state === "up" ? "none" : "down" });
const logged = (message: string) => worker.logs().filter((entry) => entry["msg"] === message);
/** Orders of twenty customers. */
const placeMany = (count: number) =>
  Promise.all(Array.from({ length: count }, (_, index) => place({ customerId: `cust-${index % 20}` })));
const untilLookedFor = (looks: number) =>
  waitFor(`${looks} looks`, () => logged("still away").length >= looks);

/** How many orders the worker takes into a stage at the same moment. */
async function concurrencyOf(stage: string): Promise<number | undefined> {
  const url = worker.logs().find((entry) => entry["metrics"] !== undefined)?.["metrics"];
  return (await scrape(String(url))).value("conveyor_worker_concurrency", { stage });
}

describe("an outage that lasts many times as long as all attempts together", () => {
  test.each([
    ["inventory", "CREATED"],
    ["payments", "RESERVED"],
    ["carrier", "PAID"],
  ] as const)("of %s ends with every order delivered, and nobody has done anything", async (provider, at) => {
    switched(provider, "down");
    const orders = await placeMany(40);
    await untilLogged(worker, HELD);
    orders.push(...(await placeMany(40)));
    await untilLookedFor(LOOKS);
    // The stages before go on meanwhile.
    for (const { id } of orders) {
      expect(await line.client.orderIn(id, at)).not.toHaveProperty("failed");
    }
    switched(provider, "up");
    for (const { id } of orders) await line.client.orderIn(id, "DELIVERED");
    expect(logged("failed")).toEqual([]);
    // Not even those that found out used up an attempt.
    expect(logged("will be retried")).toEqual([]);
  });

  test("costs the only order of the day nothing either", async () => {
    const usual = await concurrencyOf("pay");
    expect(usual).toBeGreaterThan(1);
    switched("payments", "down");
    const order = await place();
    await untilLogged(worker, HELD);
    await untilLookedFor(LOOKS);
    switched("payments", "up");
    expect(await line.client.orderIn(order.id, "DELIVERED")).not.toHaveProperty("failed");
    expect(logged("failed")).toEqual([]);
    expect(line.environment.providers.entriesOf(order.id)).toMatchObject([
      { kind: "charge", outcome: "approved", attempts: 1 },
      { kind: "label" },
    ]);
    expect(await concurrencyOf("pay")).toBe(usual);
  });
});

test("an order that needs no carrier goes on while the carrier is away", async () => {
  switched("carrier", "down");
  const parcel = await place();
  await untilLogged(worker, HELD);
  const digital = {
    lines: [{ sku: "GIFT-CARD", quantity: 1, unitPrice: 1_000, requiresShipping: false, stocked: false }],
  };
  const card = await place(digital);
  await line.client.orderIn(card.id, "DELIVERED");
  expect(await line.client.orderIn(parcel.id, "PAID")).not.toHaveProperty("failed");
  // That order says nothing of the carrier.
  expect(logged("circuit half open: trying a share of the orders")).toEqual([]);
  switched("carrier", "up");
  await line.client.orderIn(parcel.id, "DELIVERED");
  expect(logged("will be retried")).toEqual([]);
});

test("a customer's poisoned orders come to rest, however many they are, and hold up nobody", async () => {
  const poisoned = await Promise.all(
    Array.from({ length: 60 }, () => place({ customerId: "unlucky", paymentToken: "tok_down" })),
  );
  const others = await placeMany(40);
  for (const { id } of others) await line.client.orderIn(id, "DELIVERED");
  for (const { id } of poisoned) {
    await waitFor(
      "it to rest",
      async () => (await line.client.get(`/orders/${id}`)).body.failed !== undefined,
    );
  }
  expect(logged(HELD)).toEqual([]);
});
