import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { listQueueSettings } from "../../db/queue-settings.ts";
import { connectProducer, type Connection } from "../../queues/connection.ts";
import { Queues } from "../../queues/queues.ts";
import { lifecycle } from "../../src/order/lifecycle.ts";
import { pay } from "../../src/order/stages/pay.ts";
import { startProviders, type Providers } from "../../tools/simulators/providers.ts";
import { BROWSER_START_MS, SERVED_TO_BROWSER, startBrowser, type TestBrowser } from "../support/browser.ts";
import { PLAIN_ORDER } from "../support/client.ts";
import { ConsoleVisitor, takeNote, takePicture } from "../support/console.ts";
import { startLine, type TestLine } from "../support/line.ts";
import type { TestProcess } from "../support/processes.ts";
import { waitFor } from "../support/wait-for.ts";

let providers: Providers;
let line: TestLine;
let browser: TestBrowser;
let visitor: ConsoleVisitor;
let connection: Connection;
let queues: Queues;
beforeAll(async () => {
  providers = await startProviders({ latencyMs: 100 });
  line = await startLine({
    workers: 2,
    env: { ...SERVED_TO_BROWSER, STAGE_ATTEMPTS: "2", PAYMENTS_URL: providers.paymentsUrl },
  });
  browser = await startBrowser();
  visitor = new ConsoleVisitor(browser, line.api.url);
  await line.client.put("/stock/MUG-BLUE", { onHand: 1_000_000 });
  connection = connectProducer(line.environment.redisUrl);
  queues = new Queues({ connection, lifecycle, onError: () => undefined });
}, BROWSER_START_MS);
afterAll(async () => {
  await queues?.close();
  connection?.disconnect();
  await browser?.close();
  await line?.close();
  await providers?.close();
});

/** Places many orders of one customer, whose failures therefore open no breaker. */
async function place(count: number, order: object = {}): Promise<string[]> {
  const ids: string[] = [];
  for (let start = 0; start < count; start += 50) {
    const orders = Array.from({ length: Math.min(50, count - start) }, () =>
      line.client.order({ ...PLAIN_ORDER, ...order }),
    );
    ids.push(...(await Promise.all(orders)).map(({ id }) => id));
  }
  return ids;
}

async function countOf(query: Record<string, string>): Promise<number> {
  return (await line.client.orders(query)).length;
}

test("a group of 200 failed orders is resumed, with its progress seen, and every one is delivered", async () => {
  const customerId = "cust-group";
  const ids = await place(200, { customerId, paymentToken: "tok_stumbles_2" });
  await waitFor(
    "all have failed",
    async () => (await countOf({ customerId, failed: "true" })) === ids.length,
  );

  const { page, errors } = await visitor.open("/failures");
  await takePicture(page, "failures of a group");
  const group = page.getByRole("row").filter({ hasText: "200" });
  await group.getByRole("link", { name: "Resume…" }).click();
  await page.getByRole("heading", { name: "Resume 200 orders?" }).waitFor();
  await page.getByRole("button", { name: "Resume orders" }).click();
  await page.getByRole("progressbar").waitFor();
  await takePicture(page, "a group that is resumed");
  await page.locator("#count").getByText("Done: 200 orders.").waitFor();
  await takePicture(page, "a group that was resumed");
  expect(await page.locator("[hx-trigger]").count()).toBe(0);

  await waitFor(
    "all are delivered",
    async () => (await countOf({ customerId, status: "DELIVERED" })) === ids.length,
  );
  expect(errors).toEqual([]);
  const { body } = await line.client.get(`/orders/${ids[0]!}/events`);
  expect(body.items).toContainEqual(expect.objectContaining({ type: "resumed", stage: "pay", actor: "ada" }));
  await visitor.go(page, "/actions");
  await page.getByRole("row").filter({ hasText: "resumed all" }).getByText("200 orders").waitFor();
  await visitor.go(page, "");
  await page.getByText("All is well").waitFor();
});

test("a group of failed orders is cancelled for a reason", async () => {
  const customerId = "cust-cancelled";
  const ids = await place(20, { customerId, paymentToken: "tok_down" });
  await waitFor(
    "all have failed",
    async () => (await countOf({ customerId, failed: "true" })) === ids.length,
  );
  const { page } = await visitor.open("/failures");
  await page.getByRole("row").filter({ hasText: "20" }).getByRole("link", { name: "Cancel…" }).click();
  await page.getByLabel("Reason").fill("the provider has lost them");
  await page.getByRole("button", { name: "Cancel orders" }).click();
  await page.locator("#count").getByText("Done: 20 orders.").waitFor();
  const cancelled = await waitFor("all are cancelled", async () => {
    const orders = await line.client.orders({ customerId, status: "CANCELLED" });
    return orders.length === ids.length && orders;
  });
  for (const { cancellation } of cancelled)
    expect(cancellation).toMatchObject({ reason: "the provider has lost them" });
});

/** When each attempt at the stage of a worker began, as it has logged them, since then. */
function attemptsOf(worker: TestProcess, since: number): number[] {
  return worker.logs().flatMap(({ stage, time, ms }) => {
    const from = Date.parse(String(time)) - Number(ms);
    return stage === pay.name && from >= since ? [from] : [];
  });
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((all, each) => all + each, 0);
}

describe("the concurrency of a stage", () => {
  const setConcurrency = async (value: string) => {
    const { page } = await visitor.open("/queues");
    const form = page.getByRole("form", { name: "Concurrency of pay" });
    await form.getByRole("spinbutton").fill(value);
    await form.getByRole("button").click();
    await waitFor("it is kept", async () => {
      const settings = await listQueueSettings(line.environment.database);
      const kept = settings.find(({ step }) => step === pay.name)?.concurrency;
      return String(kept ?? "") === value;
    });
    const kept = Date.now();
    await takePicture(page, `queues with a concurrency of ${value || "any"}`);
    await page.close();
    return kept;
  };

  test("is changed from 20 to 2 under load, and two workers obey", async () => {
    // Of 500 orders, 40 a second are paid at first.
    providers.setFault("payments", { kind: "slow", ms: 500 });
    const began = await setConcurrency("20");
    providers.takeMaxInFlight("payments");
    const customerId = "cust-load";
    await place(500, { customerId });
    const attempts = (since: number) => line.workers.map((worker) => attemptsOf(worker, since).length);
    // How the two share the twenty places is up to them: the one that has a place takes the next order with it.
    await waitFor("the workers have paid some", () => sum(attempts(began)) > 80);
    const before = { most: providers.takeMaxInFlight("payments"), attempts: attempts(began) };

    const changed = await setConcurrency("2");
    // What was under way is left to its end.
    await waitFor("the provider has no more than two calls", () => providers.inFlight("payments") <= 2);
    const settled = Date.now();
    providers.takeMaxInFlight("payments");
    // Who has one of the two takes the next one too: so it may be one worker that has both.
    await waitFor("more are paid, slowly", () => sum(attempts(settled)) > 20);
    const after = { most: providers.takeMaxInFlight("payments"), attempts: attempts(settled) };
    takeNote(
      `the provider had ${before.most} calls at once of 20 (${before.attempts.join(" + ")} attempts), and, ` +
        `${settled - changed} ms after the change, ${after.most} of 2 (${after.attempts.join(" + ")} attempts)`,
    );
    expect(before.most).toBe(20);
    expect(after.most).toBe(2);
    expect(await countOf({ customerId, status: "RESERVED" })).toBeGreaterThan(0);
    providers.setFault("payments", { kind: "none" });
  });

  test("outlives a flush of Redis, and so does a pause", async () => {
    const { page } = await visitor.open("/queues");
    await page.getByRole("button", { name: "Pause ship" }).click();
    await page.getByRole("button", { name: "Resume ship" }).waitFor();
    await line.environment.redis.flushdb();
    await waitFor("Redis has them again", async () => {
      const [concurrency, paused] = await Promise.all([
        queues.of(pay).getGlobalConcurrency(),
        queues.of({ name: "ship" }).isPaused(),
      ]);
      return concurrency === 2 && paused;
    });
    await visitor.go(page, "");
    await page.getByText("ship is paused: orders wait there").waitFor();
    await takePicture(page, "a paused stage");
  });

  test("is set free again, and all orders are delivered", async () => {
    const { page } = await visitor.open("/queues");
    await page.getByRole("button", { name: "Resume ship" }).click();
    await page.getByRole("button", { name: "Pause ship" }).waitFor();
    await setConcurrency("");
    expect(await queues.of(pay).getGlobalConcurrency()).toBeNull();
    const customerId = "cust-load";
    await waitFor(
      "all are delivered",
      async () => (await countOf({ customerId, status: "DELIVERED" })) === 500,
    );
  });
});

test("a rate limit of a stage is kept over all workers", async () => {
  const { page } = await visitor.open("/queues");
  const form = page.getByRole("form", { name: "Rate limit of pay" });
  await form.getByRole("spinbutton", { name: "Rate limit (jobs)" }).fill("5");
  await form.getByRole("spinbutton", { name: "per (seconds)" }).fill("1");
  await form.getByRole("button").click();
  await waitFor("Redis has it", async () => (await queues.of(pay).getGlobalRateLimit())?.max === 5);
  const began = Date.now();
  await place(30, { customerId: "cust-rate" });
  const starts = await waitFor("all are paid", () => {
    const found = line.workers.flatMap((worker) => attemptsOf(worker, began));
    return found.length >= 30 && found;
  });
  expect(Math.max(...starts) - Math.min(...starts)).toBeGreaterThan(4_000);
});
