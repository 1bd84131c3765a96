import { afterEach, beforeEach, expect, jest, test } from "@jest/globals";
import { startProviders, type Providers } from "../../tools/simulators/providers.ts";
import { PLAIN_ORDER } from "../support/client.ts";
import { startLine, type TestLine } from "../support/line.ts";
import { startWorker, TEST_KEY, untilLogged, type TestProcess } from "../support/processes.ts";
import { waitFor } from "../support/wait-for.ts";

jest.setTimeout(240_000);

const CONCURRENCY = 8;
const QUARTER = 2;
const POISONED = 24;
const HEALTHY = 16;
const LOGIN = { authorization: `Basic ${Buffer.from(`ada:${TEST_KEY}`).toString("base64")}` };
const HELD = "circuit open: the stage is held";
const FAILING = "the service answers pings but fails order after order: orders wait and use up no attempts";

let providers: Providers;
let line: TestLine;
let env: Record<string, string>;
beforeEach(async () => {
  providers = await startProviders({ transitMs: 50, latencyMs: 20 });
  env = {
    PAYMENTS_URL: providers.paymentsUrl,
    CARRIER_URL: providers.carrierUrl,
    STAGE_TIMEOUT_MS: "500",
    STAGE_ATTEMPTS: "4",
    PROBE_INTERVAL_MS: "100",
    SWEEP_INTERVAL_MS: "200",
    SWEEP_AFTER_MS: "1000",
    LOG_LEVEL: "debug",
  };
  line = await startLine({ workers: 0, env });
  await line.client.put("/stock/MUG-BLUE", { onHand: 10_000 });
});
afterEach(async () => {
  await line.close();
  await providers.close();
});

const addWorker = (...args: string[]) =>
  line.addWorker({ args: ["--concurrency", String(CONCURRENCY), ...args] });
/** One whose attempts are not ended by a busy machine. */
async function addPatientWorker(): Promise<TestProcess> {
  const { databaseUrl, redisUrl } = line.environment;
  const worker = await startWorker({
    databaseUrl,
    redisUrl,
    env: { ...env, STAGE_TIMEOUT_MS: "60000" },
    args: ["--concurrency", String(CONCURRENCY)],
  });
  line.workers.push(worker);
  return worker;
}
const place = (count: number, given: (index: number) => object) =>
  Promise.all(
    Array.from({ length: count }, (_, index) => line.client.order({ ...PLAIN_ORDER, ...given(index) })),
  );
const placePoisoned = (token: string, customer: (index: number) => string) =>
  place(POISONED, (index) => ({ customerId: customer(index), paymentToken: token }));
const placeHealthy = () => place(HEALTHY, (index) => ({ customerId: `healthy-${index}` }));
const logged = (worker: TestProcess, message: string) =>
  worker.logs().filter((entry) => entry["msg"] === message);
const failedIn = async (id: string) => (await line.client.get(`/orders/${id}`)).body.failed;
const untilAllRest = async (orders: readonly { id: string }[]) => {
  for (const { id } of orders) await waitFor(`${id} to rest`, async () => (await failedIn(id)) !== undefined);
};
/** The most orders at once in a stage that the provider was asked for before. */
const mostSuspects = () =>
  Math.max(providers.takeMaxRepeatedInFlight("payments"), providers.takeMaxRepeatedInFlight("carrier"));

test.each([
  ["get no answer, one customer each", "tok_pay_hangs", (index: number) => `poisoned-${index}`],
  ["get no answer, one customer for all", "tok_pay_hangs", () => "poisoned"],
  ["are answered 5xx, one customer each", "tok_pay_fails", (index: number) => `poisoned-${index}`],
  ["are answered 5xx, one customer for all", "tok_pay_fails", () => "poisoned"],
  ["stumble, one customer each", "tok_pay_stumbles", (index: number) => `poisoned-${index}`],
  ["cannot be shipped", "tok_ship_hangs", (index: number) => `poisoned-${index}`],
  ["cannot be tracked", "tok_track_fails", (index: number) => `poisoned-${index}`],
] as const)(
  "orders that %s hold up nobody, and take a quarter of a stage",
  async (_what, token, customer) => {
    // A call that a busy machine has ended, at the provider perhaps after the next one has begun, is none of two at once.
    const worker = await (token.endsWith("_hangs") ? addWorker() : addPatientWorker());
    const poisoned = await placePoisoned(token, customer);
    const healthy = await placeHealthy();
    for (const { id } of healthy) await line.client.orderIn(id, "DELIVERED");
    expect(logged(worker, HELD)).toEqual([]);
    providers.heal();
    await waitFor("every order to be delivered, or to rest", async () => {
      const states = await Promise.all(
        poisoned.map(async ({ id }) => (await line.client.get(`/orders/${id}`)).body),
      );
      return states.every(({ status, failed }) => status === "DELIVERED" || failed !== undefined);
    });
    expect(mostSuspects()).toBeLessThanOrEqual(QUARTER);
  },
);

test("orders that can't be refunded hold up nobody else's cancellation", async () => {
  const worker = await addWorker("--stages", "reserve,pay,cancel");
  const poisoned = await placePoisoned("tok_refund_hangs", (index) => `poisoned-${index}`);
  const healthy = await placeHealthy();
  for (const { id } of [...poisoned, ...healthy]) await line.client.orderIn(id, "PAID");
  for (const { id } of [...poisoned, ...healthy]) {
    const answer = await line.client.post(`/orders/${id}/cancel`, { reason: "changed their mind" });
    expect(answer.status).toBe(202);
  }
  for (const { id } of healthy) await line.client.orderIn(id, "CANCELLED");
  expect(logged(worker, HELD)).toEqual([]);
  expect(mostSuspects()).toBeLessThanOrEqual(QUARTER);
});

test("orders that are resumed come back beside the others, and not before them", async () => {
  await addWorker();
  const poisoned = await placePoisoned("tok_pay_fails", (index) => `poisoned-${index}`);
  // Somebody has to be served: nobody rests while the service may fail everybody.
  await untilServed(poisoned);
  mostSuspects();
  const { body } = await line.client.post<{ resumed: number }>("/orders/resume", {});
  expect(body.resumed).toBe(POISONED);
  const healthy = await placeHealthy();
  for (const { id } of healthy) await line.client.orderIn(id, "DELIVERED");
  providers.heal();
  for (const { id } of poisoned)
    await waitFor(`${id} to be delivered`, async () => {
      if ((await failedIn(id)) !== undefined) await line.client.post("/orders/resume", {});
      return (await line.client.get(`/orders/${id}`)).body.status === "DELIVERED";
    });
  expect(mostSuspects()).toBeLessThanOrEqual(QUARTER);
});

/** Waits until the orders rest, beside others that are served. */
async function untilServed(poisoned: readonly { id: string }[]): Promise<void> {
  const done = new AbortController();
  const stream = (async () => {
    while (!done.signal.aborted) {
      const [order] = await place(1, () => ({ customerId: "steady" }));
      if (order) await line.client.orderIn(order.id, "DELIVERED");
    }
  })();
  await untilAllRest(poisoned);
  done.abort();
  await stream;
}

test("a service that fails everybody and answers pings costs attempts only until that is known, and the page says so", async () => {
  const worker = await addWorker();
  const poisoned = await placePoisoned("tok_pay_fails", (index) => `poisoned-${index}`);
  await untilLogged(worker, FAILING);
  await waitFor("the page to say so", async () => {
    const page = await fetch(`${line.api.url}/console`, { headers: LOGIN });
    return (await page.text()).includes(
      "payments answers its health check but fails order after order in pay",
    );
  });
  await waitFor("each to be tried often", () =>
    poisoned.every(({ id }) => (providers.books.attempts.get(`${id}:pay`) ?? 0) > 4),
  );
  for (const { id } of poisoned) expect(await failedIn(id)).toBeUndefined();
  expect(logged(worker, HELD)).toEqual([]);
  providers.heal();
  for (const { id } of poisoned) await line.client.orderIn(id, "DELIVERED");
});

test.each([
  ["down", 10],
  ["refuse", 10],
  // A look takes two pings of three seconds.
  ["hangs", 2],
] as const)(
  "a service that is really away (%s) costs no order an attempt, not even the first ones",
  async (kind, looks) => {
    const worker = await addPatientWorker();
    providers.setFault("payments", { kind });
    const orders = await placeHealthy();
    await untilLogged(worker, HELD);
    orders.push(...(await placeHealthy()));
    await waitFor("a few looks", () => logged(worker, "still away").length >= looks);
    providers.setFault("payments", { kind: "none" });
    for (const { id } of orders) await line.client.orderIn(id, "DELIVERED");
    expect(logged(worker, "will be retried")).toEqual([]);
    expect(logged(worker, "failed")).toEqual([]);
    expect(providers.books.charges).toHaveLength(orders.length);
  },
);

test("a service that hangs until the first calls have given up costs no order an attempt, though it answers pings by then", async () => {
  const worker = await addPatientWorker();
  providers.setFault("payments", { kind: "hangs" });
  const orders = await placeHealthy();
  await waitFor("calls that hang", () => providers.inFlight("payments") === CONCURRENCY);
  await waitFor("them to give up", () => providers.inFlight("payments") === 0);
  providers.setFault("payments", { kind: "none" });
  for (const { id } of orders) await line.client.orderIn(id, "DELIVERED");
  expect(logged(worker, "will be retried")).toEqual([]);
  expect(providers.books.charges).toHaveLength(orders.length);
});
