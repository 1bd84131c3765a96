import { once } from "node:events";
import { createServer } from "node:http";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "@jest/globals";
import type { Locator, Page } from "playwright-core";
import { listActions } from "../../db/operator-actions.ts";
import { freePort } from "../../tools/launcher/ports.ts";
import { jobId } from "../../queues/job.ts";
import type { OrderBody } from "../../src/api/schemas.ts";
import { lifecycle } from "../../src/order/lifecycle.ts";
import { BASIC } from "../support/api.ts";
import {
  BROWSER_HOST,
  BROWSER_START_MS,
  SERVED_TO_BROWSER,
  startBrowser,
  type TestBrowser,
  type WatchedPage,
} from "../support/browser.ts";
import { PLAIN_ORDER } from "../support/client.ts";
import { startLine, type TestLine } from "../support/line.ts";
import { TEST_KEY } from "../support/processes.ts";
import { waitFor } from "../support/wait-for.ts";

const LOGIN = { username: "operator", password: TEST_KEY };
const DESKTOP = { width: 1280, height: 800 };
const PHONE = { width: 390, height: 844 };

const SECRET_ORDER = {
  ...PLAIN_ORDER,
  shipTo: {
    name: "Nancy Thompson",
    line1: "1428 Elm Street",
    city: "Springwood",
    postalCode: "OH-43219",
    country: "US",
  },
};
const SECRETS = /tok_down|Thompson|Elm Street|Springwood|43219/;

let line: TestLine;
let browser: TestBrowser;
beforeAll(async () => {
  line = await startLine({ env: { ...SERVED_TO_BROWSER, STAGE_ATTEMPTS: "2" } });
  browser = await startBrowser();
  await line.client.put("/stock/MUG-BLUE", { onHand: 1_000 });
}, BROWSER_START_MS);
afterAll(async () => {
  await browser?.close();
  await line?.close();
});

function payments(state: "up" | "down"): void {
  line.environment.providers.setFault("payments", { kind: state === "up" ? "none" : "down" });
}

function payJob(order: OrderBody): string {
  return jobId(order.id, { from: "RESERVED", to: "PAID" });
}

/** An order whose payment has failed as often as it may, and whose job rests in the failed set. */
async function failedOrder(): Promise<OrderBody> {
  const { id } = await line.client.order({ ...SECRET_ORDER, paymentToken: "tok_down" });
  const order = await waitFor("the order says that it failed", async () => {
    const { body } = await line.client.get(`/orders/${id}`);
    return body.failed && body;
  });
  await waitFor("the job rests in the failed set", async () => (await jobStatus(order)) === "failed");
  return order;
}

/** What the board knows of the order's payment. */
async function jobStatus(order: OrderBody): Promise<string> {
  const answer = await fetch(`${line.api.url}/queues/api/queues/pay/${payJob(order)}`, { headers: BASIC });
  const { status }: { status: string } = JSON.parse(await answer.text());
  return status;
}

/** Workers may take a moment to notice that a provider is back: it is when an order goes through. */
async function recover(): Promise<void> {
  payments("up");
  await line.client.orderIn((await line.client.order(PLAIN_ORDER)).id, "PAID", "SHIPPED", "DELIVERED");
}

async function openBoard(path = "/", viewport = DESKTOP): Promise<WatchedPage> {
  const watched = await browser.open({ viewport, httpCredentials: LOGIN });
  await watched.page.goto(`${line.api.url}/queues${path}`);
  return watched;
}

/** The first of a job's buttons. They are pictures; what they do stands in a tooltip. */
async function retryButton(page: Page, order: OrderBody): Promise<Locator> {
  const header = page
    .locator("main div")
    .filter({ has: page.getByRole("link", { name: payJob(order) }) })
    .filter({ has: page.getByRole("button") })
    .last();
  const button = header.getByRole("button").first();
  await button.hover();
  await waitFor("the button says what it does", async () =>
    (await page.locator("[data-base-ui-portal]").allInnerTexts()).includes("Retry"),
  );
  return button;
}

describe("an order whose payment nobody answers", () => {
  test("fails visibly, and one click on the board's retry delivers it once the provider is back", async () => {
    const order = await failedOrder();
    expect(order).toMatchObject({
      status: "RESERVED",
      failed: { stage: "pay", reason: "payments answered 503", at: expect.any(String) },
    });
    expect((await line.client.orders({ failed: "true" })).map((each) => each.id)).toContain(order.id);

    const { page, errors } = await openBoard();
    await page.getByRole("link", { name: "pay", exact: true }).first().click();
    await page.getByRole("link", { name: /FAILED/ }).click();
    const retry = await retryButton(page, order);
    await recover();
    await retry.click();
    await page.getByRole("button", { name: "Confirm" }).click();

    const delivered = await line.client.orderIn(order.id, "DELIVERED");
    expect(delivered).not.toHaveProperty("failed");
    const { body } = await line.client.get(`/orders/${order.id}/events`);
    expect(body.items).toContainEqual(
      expect.objectContaining({ type: "resumed", stage: "pay", actor: LOGIN.username }),
    );
    const { items } = await listActions(line.environment.database, { limit: 10 });
    expect(items).toContainEqual(
      expect.objectContaining({ action: "retry", target: order.id, actor: LOGIN.username, state: "done" }),
    );
    const entries = line.environment.providers.entriesOf(order.id);
    expect(entries.filter((entry) => entry.kind === "charge")).toMatchObject([
      { outcome: "approved", amount: order.total, attempts: 3 },
    ]);
    expect(errors).toEqual([]);
  });

  test("is shown without the payment token and the address, whatever is opened", async () => {
    const order = await failedOrder();
    const { page, errors } = await openBoard(`/queue/pay/${payJob(order)}?status=failed`);
    await page.getByText(payJob(order)).first().waitFor();
    const seen: string[] = [];
    for (const tab of await page.getByRole("tab").all()) {
      await tab.click();
      await page.getByRole("tabpanel").waitFor();
      seen.push(await page.content());
    }
    expect(seen.length).toBeGreaterThan(3);
    expect(seen.join()).toContain(order.id);
    expect(seen.join()).not.toMatch(SECRETS);

    for (const path of [
      `queues?activeQueue=pay&status=failed`,
      `queues/pay/${payJob(order)}`,
      `queues/pay/${payJob(order)}/logs`,
    ]) {
      const answer = await fetch(`${line.api.url}/queues/api/${path}`, { headers: BASIC });
      expect(await answer.text()).not.toMatch(SECRETS);
    }
    expect(errors).toEqual([]);
  });
});

describe.each([
  ["a desktop", DESKTOP],
  ["a phone", PHONE],
])("on %s", (_, viewport) => {
  test("the board has the queue of every stage, and fits", async () => {
    const { page, errors, requests } = await openBoard("/", viewport);
    const main = page.locator("main");
    for (const stage of lifecycle.stages) await main.getByText(stage.name, { exact: true }).waitFor();
    expect(await overflow(page)).toBe(0);
    expect(errors).toEqual([]);
    expect(outside(requests, line.api.url)).toEqual([]);
  });

  test("the docs show how to place an order, and fit", async () => {
    const url = line.api.url.replace("127.0.0.1", BROWSER_HOST);
    const { page, errors, requests } = await browser.open({ viewport, httpCredentials: LOGIN });
    await page.goto(`${url}/docs`);
    await page
      .getByRole("button", { name: /POST.*\/orders/ })
      .first()
      .click();
    await page.getByText("customerId").first().waitFor();
    expect(errors).toEqual([]);
    expect(outside(requests, url)).toEqual([]);
  });
});

/** Pixels by which the page is wider than its window. */
async function overflow(page: Page): Promise<unknown> {
  return page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth");
}

function outside(requests: readonly string[], url: string): string[] {
  return requests.filter((address) => !address.startsWith(`${url}/`) && !/^(data|blob):/.test(address));
}

describe("a page of another origin", () => {
  const server = createServer((_request, response) => {
    response.setHeader("content-type", "text/html");
    response.end(
      `<!doctype html><form method="post" enctype="text/plain" action="${line.api.url}/queues/api/queues/pay/add">
         <button name='{"name":"pay","data":{},"x":"' value='"}'>You have won</button>
       </form>`,
    );
  });
  let elsewhere: string;
  let page: Page;
  beforeAll(async () => {
    const port = await freePort();
    server.listen(port, "127.0.0.1");
    await once(server, "listening");
    elsewhere = `http://127.0.0.1:${port}/`;
  });
  beforeEach(async () => {
    ({ page } = await openBoard());
    await page.getByText("Conveyor").first().waitFor();
    await page.goto(elsewhere);
  });
  afterAll(() => {
    server.close();
    server.closeAllConnections();
  });

  test("cannot make the board retry, though its user is logged in there", async () => {
    const order = await failedOrder();
    const retry = () =>
      page.evaluate(
        (url) =>
          fetch(url, { method: "PUT", credentials: "include" }).then(
            (answer) => `answered ${answer.status}`,
            (error: Error) => error.message,
          ),
        `${line.api.url}/queues/api/queues/pay/${payJob(order)}/retry`,
      );

    expect(await retry()).toBe("Failed to fetch");
    expect(await jobStatus(order)).toBe("failed");
    await page.goto(`${line.api.url}/queues`);
    expect(await retry()).toBe("answered 204");
  });

  test("cannot have its user post a form to the board", async () => {
    const answered = page.waitForResponse((response) => response.request().method() === "POST");
    await page.getByRole("button").click();
    expect((await answered).status()).toBe(403);
  });
});
