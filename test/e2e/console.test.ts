import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { consoleRoutes } from "../../src/api/console/console.ts";
import { ROOT } from "../../src/api/console/layout.ts";
import type { OrderBody } from "../../src/api/schemas.ts";
import { barriersOf } from "../support/accessibility.ts";
import { BROWSER_START_MS, SERVED_TO_BROWSER, startBrowser, type TestBrowser } from "../support/browser.ts";
import { PLAIN_ORDER } from "../support/client.ts";
import { ConsoleVisitor, takePicture } from "../support/console.ts";
import { fillShop, HOSTILE, HOSTILE_ORDER, LONG_ORDER } from "../support/console-shop.ts";
import { startLine, type TestLine } from "../support/line.ts";
import { startApi, TEST_KEY, type TestProcess } from "../support/processes.ts";
import { waitFor } from "../support/wait-for.ts";
import { WebhookReceiver } from "../support/webhook-receiver.ts";

/** A desktop, and a phone. */
const VIEWPORTS = [
  { width: 1280, height: 900 },
  { width: 390, height: 844 },
] as const;
const SCHEMES = ["light", "dark"] as const;

const LATER_MS = 120_000;

let line: TestLine;
let browser: TestBrowser;
let visitor: ConsoleVisitor;
beforeAll(async () => {
  line = await startLine({
    workers: 2,
    transitMs: 3_000,
    env: { ...SERVED_TO_BROWSER, STAGE_ATTEMPTS: "2", WEBHOOK_ALLOWED_NETWORKS: "127.0.0.0/8" },
  });
  browser = await startBrowser();
  visitor = new ConsoleVisitor(browser, line.api.url);
}, BROWSER_START_MS);
afterAll(async () => {
  await browser?.close();
  await line?.close();
});

/** The paths of the pages that were looked at. */
const lookedAt = new Set<string>();

type Addresses = readonly (readonly [name: string, address: () => Promise<string> | string])[];

/** Looks at each page at both widths in both colours, as people and as axe see it. */
function fits(addresses: Addresses, visit: () => ConsoleVisitor = () => visitor): void {
  test.each(addresses)(
    "the page of %s fits, shuts nobody out, asks nobody else, and breaks no rule",
    async (name, address) => {
      const { url } = visit();
      const { page, errors, requests } = await visit().open(await address());
      lookedAt.add(new URL(page.url()).pathname);
      await page.locator("main h1").waitFor({ state: "attached" });
      if ((await page.locator("#plots").count()) > 0) await page.locator("#plots canvas").first().waitFor();
      for (const viewport of VIEWPORTS) {
        await page.setViewportSize(viewport);
        for (const colorScheme of SCHEMES) {
          await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
          await takePicture(page, `${name} ${viewport.width} ${colorScheme}`);
          expect(await barriersOf(page, { coloursOnly: colorScheme === "dark" })).toEqual([]);
        }
        expect(
          await page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"),
        ).toBe(0);
      }
      // What others have written is text: it loads nothing, and runs nothing.
      expect(await page.locator("main script, main img").count()).toBe(0);
      // The browser's own word on an answer that is an error.
      expect(errors.filter((error) => !/status of (400|404|422)/.test(error))).toEqual([]);
      expect(requests.filter((requested) => !requested.startsWith(`${url}/`))).toEqual([]);
      await page.context().close();
    },
  );
}

describe("a service without orders", () => {
  fits([
    ["nothing: the overview", () => ""],
    ["nothing: the orders", () => "/orders"],
    ["nothing: the failures", () => "/failures"],
    ["nothing: the stock", () => "/stock"],
    ["nothing: the webhooks", () => "/webhooks"],
    ["nothing: the actions", () => "/actions"],
  ]);

  test("says so, and that all is well", async () => {
    const { page } = await visitor.open("");
    await page.getByText("All is well: 2 workers running, no failed orders.").waitFor();
    await visitor.go(page, "/orders");
    await page.getByText("There are no orders yet.").waitFor();
    await visitor.go(page, "/failures");
    await page.getByText("No order has failed.").waitFor();
  });
});

describe("a service with all sorts of orders", () => {
  let failed: OrderBody;
  let cancelled: OrderBody;
  let long: OrderBody;
  let hostile: OrderBody;
  let batch: string;
  let endpoint: string;
  let delivery: number;
  const receivers: WebhookReceiver[] = [];

  beforeAll(async () => {
    const good = await WebhookReceiver.start();
    const bad = await WebhookReceiver.start((response) => {
      const page = `<html><head><title>502 Bad Gateway</title></head><body>${HOSTILE}</body></html>`;
      response.writeHead(502, { "content-type": "text/html" }).end(page.repeat(3));
    });
    receivers.push(good, bad);
    await fillShop(line);
    const [, failing] = await Promise.all([
      addEndpoint({ url: good.url, description: "Lager (Übergabe an das WMS)" }),
      addEndpoint({ url: `${bad.url}/${"v2-orders-of-all-tenants-".repeat(8)}`, description: HOSTILE }),
      addEndpoint({ url: good.url, eventTypes: ["conveyor.order.status.v1"] }),
    ]);
    endpoint = failing;
    await line.client.put(`/stock/${encodeURIComponent(HOSTILE)}`, { onHand: 100 });
    const [hostileOrder, longOrder, declined, stuck] = await Promise.all(
      [
        HOSTILE_ORDER,
        LONG_ORDER,
        { ...PLAIN_ORDER, reference: "SO-2026-11-005001", paymentToken: "tok_declined" },
        { ...PLAIN_ORDER, reference: "SO-2026-11-005002", paymentToken: "tok_down" },
      ].map((order) => line.client.order(order)),
    );
    if (!hostileOrder || !longOrder || !declined || !stuck) throw new Error("an order was not taken");
    [hostile, long, cancelled, failed] = await Promise.all([
      line.client.orderIn(hostileOrder.id, "DELIVERED"),
      line.client.orderIn(longOrder.id, "DELIVERED"),
      line.client.orderIn(declined.id, "CANCELLED"),
      waitFor("an order has failed", async () => {
        const { body } = await line.client.get(`/orders/${stuck.id}`);
        return body.failed && body;
      }),
    ]);
    await steer();
    delivery = await waitFor("an endpoint has answered badly", async () => {
      const { body } = await line.client.get<{ items: { id: number; attempts: number }[] }>(
        `/webhook-endpoints/${endpoint}/deliveries`,
      );
      return body.items.find(({ attempts }) => attempts > 0)?.id;
    });
  }, LATER_MS);
  afterAll(() => Promise.all(receivers.map((receiver) => receiver.close())));

  /** @returns its id. */
  async function addEndpoint(settings: object): Promise<string> {
    const { status, body } = await line.client.post<{ id: string }>("/webhook-endpoints", settings);
    if (status !== 201) throw new Error(`no endpoint was made: ${JSON.stringify(body)}`);
    return body.id;
  }

  /** Does what operators do, so that it is written down. */
  async function steer(): Promise<void> {
    const { page } = await visitor.open("/queues", {
      httpCredentials: { username: `Zoë ${HOSTILE}`, password: TEST_KEY },
    });
    await page.getByRole("spinbutton", { name: "Concurrency" }).first().fill("500");
    await page.getByRole("button", { name: "Set the concurrency of reserve" }).click();
    await page.getByRole("spinbutton", { name: "Concurrency" }).first().waitFor();
    await visitor.go(page, "/failures/cancel?stage=ship&reason=none+of+them");
    await page.getByLabel("Reason").fill(HOSTILE);
    await page.getByRole("button", { name: "Cancel orders" }).click();
    await page.locator("#count").getByText("Done").waitFor();
    batch = new URL(page.url()).pathname.replace("/console", "");
    await page.context().close();
  }

  fits([
    ["the overview", () => ""],
    ["orders", () => "/orders"],
    ["orders by filter", () => "/orders?status=DELIVERED&age=%3C1h"],
    ["orders that failed", () => "/orders?failed=yes"],
    ["orders of nobody", () => "/orders?customer=nobody&status=CREATED"],
    ["orders by a filter that is none", () => "/orders?status=LOST&age=old"],
    ["a search in vain", () => "/orders?q=nobody"],
    ["an order that is delivered", () => `/orders/${long.id}`],
    ["an order of hostile texts", () => `/orders/${hostile.id}`],
    ["an order that failed", () => `/orders/${failed.id}`],
    ["an order that is cancelled", () => `/orders/${cancelled.id}`],
    ["an order on its way", async () => `/orders/${(await onItsWay()).id}`],
    ["an order that failed after a long message", async () => `/orders/${(await failedIn("ship")).id}`],
    ["the failures", () => "/failures"],
    ["a group to resume", () => "/failures/resume?stage=pay"],
    ["a group to cancel", () => "/failures/cancel?stage=pay&reason=payments+answered+502%3A+Bad+Gateway"],
    ["a group that was worked through", () => batch],
    ["an order to cancel", () => `/orders/${failed.id}/cancel`],
    ["an order to hold", () => `/orders/${failed.id}/hold`],
    ["an order whose address is to change", () => `/orders/${failed.id}/address`],
    ["an order to refund", () => `/orders/${long.id}/refund`],
    ["an order that was refunded", async () => `/orders/${await refundedOrder()}`],
    ["a parcel to plan", async () => `/orders/${(await heldOrder()).id}/shipments/new`],
    ["a parcel to close", () => `/orders/${hostile.id}/shipments/1/close`],
    ["a picking list", () => `/orders/${hostile.id}/shipments/picking-list`],
    ["a packing slip", () => `/orders/${hostile.id}/shipments/1/packing-slip`],
    ["an order that is held", async () => `/orders/${(await heldOrder()).id}`],
    ["orders that are held", () => "/orders?waiting=yes"],
    ["the stock", () => "/stock"],
    ["the stock of a SKU", () => `/stock?sku=${encodeURIComponent(HOSTILE)}`],
    ["the stock of a SKU that is unknown", () => "/stock?sku=nothing"],
    ["the queues", () => "/queues"],
    ["webhooks", () => "/webhooks"],
    ["a webhook endpoint", () => `/webhooks/${endpoint}`],
    ["a webhook endpoint to delete", () => `/webhooks/${endpoint}/delete`],
    ["a delivery", () => `/webhooks/deliveries/${delivery}`],
    ["the actions", () => "/actions"],
    ["an order that is nowhere", () => "/orders/01a20691-7a8e-777a-bbfa-0d625ad32c50"],
    ["nothing at all", () => "/nowhere"],
  ]);

  async function onItsWay(): Promise<OrderBody> {
    const { id } = await line.client.order({ ...PLAIN_ORDER, reference: "SO-2026-11-005003" });
    return line.client.orderIn(id, "SHIPPED");
  }

  async function refundedOrder(): Promise<string> {
    const { id } = await line.client.order(PLAIN_ORDER);
    await line.client.orderIn(id, "DELIVERED");
    await line.client.post(`/orders/${id}/refunds`, { reason: HOSTILE, amount: 100 });
    await line.client.post(`/orders/${id}/refunds`, {
      reason: "y".repeat(500),
      lines: [{ sku: "MUG-BLUE", quantity: 1 }],
      restock: true,
    });
    return waitFor("it is refunded", async () => {
      const { body } = await line.client.get<{ refunds: { state: string }[] }>(`/orders/${id}/payments`);
      return body.refunds.length === 2 && body.refunds.every(({ state }) => state === "SUCCEEDED") && id;
    });
  }

  async function heldOrder(): Promise<OrderBody> {
    const order = await line.client.order({ ...PLAIN_ORDER, paymentToken: "tok_down" });
    await line.client.post(`/orders/${order.id}/holds`, { name: HOSTILE.slice(0, 64), reason: HOSTILE });
    await line.client.post(`/orders/${order.id}/holds`, { name: "x".repeat(64), reason: "y".repeat(500) });
    return waitFor("it is held", async () => {
      const { body } = await line.client.get(`/orders/${order.id}`);
      return body.waiting && body;
    });
  }

  async function failedIn(stage: string): Promise<OrderBody> {
    const orders = await line.client.orders({ failed: "true" });
    const found = orders.find((order) => order.failed?.stage === stage);
    if (found === undefined) throw new Error(`no order has failed in ${stage}`);
    return found;
  }
});

describe.each([
  ["without queues", { PROCESSING: "sync" }],
  ["whose Redis is away", { REDIS_URL: "redis://127.0.0.1:1" }],
])("a service %s", (which, env) => {
  let api: TestProcess & { readonly url: string };
  let there: ConsoleVisitor;
  beforeAll(async () => {
    // Nobody takes away the orders that are looked at.
    api = await startApi({
      databaseUrl: line.environment.databaseUrl,
      env: { ...SERVED_TO_BROWSER, SWEEP_AFTER_MS: "86400000", ...env },
    });
    there = new ConsoleVisitor(browser, api.url);
  });
  afterAll(() => api?.stop());

  fits(
    [
      [`a service ${which}: the overview`, () => ""],
      [`a service ${which}: the failures`, () => "/failures"],
      [`a service ${which}: the queues`, () => "/queues"],
      [
        `a service ${which}: an order that failed`,
        async () => `/orders/${(await line.client.orders({ failed: "true" }))[0]?.id}`,
      ],
    ],
    () => there,
  );
});

describe("an order", () => {
  test("is followed live until it is delivered", async () => {
    const { id } = await line.client.order({ ...PLAIN_ORDER, reference: "INV-LIVE" });
    const { page, errors } = await visitor.open(`/orders/${id}`);
    await page.evaluate("window.stays = true");
    const shown = page.locator("#state .badge").first();
    await shown.getByText("SHIPPED").waitFor();
    await page.locator(".timeline .now").getByText("deliver").waitFor();
    await takePicture(page, "an order on its way");
    await shown.getByText("DELIVERED").waitFor();
    expect(await page.locator(".timeline b").allInnerTexts()).toEqual([
      "Created",
      "reserve: CREATED → RESERVED",
      "Payment captured",
      "pay: RESERVED → PAID",
      "parcel 1: booked",
      "ship: PAID → SHIPPED",
      "parcel 1: delivered",
      "deliver: SHIPPED → DELIVERED",
    ]);
    // Over the stream that all tabs share: only a browser without workers for it asks every other second.
    expect(await page.evaluate("'SharedWorker' in window")).toBe(true);
    // It was the same page all the time, and it asks no more.
    expect(await page.evaluate("window.stays")).toBe(true);
    expect(await page.locator("[hx-trigger]").count()).toBe(0);
    expect(errors).toEqual([]);
  });

  test("that failed goes on with one click", async () => {
    const { id } = await line.client.order({ ...PLAIN_ORDER, paymentToken: "tok_stumbles_2" });
    const { page } = await visitor.open(`/orders/${id}`);
    await page.getByRole("button", { name: "Retry now" }).click();
    await page.locator("#state").getByText("DELIVERED").waitFor();
    await page.locator(".timeline").getByText("by ada").waitFor();
  });

  test.each([
    ["with", true],
    ["without", false],
  ])("is cancelled for a reason, by a browser %s JavaScript", async (_, javaScriptEnabled) => {
    const { id } = await line.client.order({ ...PLAIN_ORDER, paymentToken: "tok_down" });
    await waitFor("it has failed", async () => (await line.client.get(`/orders/${id}`)).body.failed);
    const { page } = await visitor.open(`/orders/${id}`, { javaScriptEnabled });
    await page.getByRole("link", { name: "Cancel" }).click();
    await page.getByLabel("Reason").fill("ordered <b>twice</b>");
    await page.getByRole("button", { name: "Cancel order" }).click();
    await line.client.orderIn(id, "CANCELLED");
    await visitor.go(page, `/orders/${id}`);
    await page.locator("#state").getByText("reason: ordered <b>twice</b>").waitFor();
    await page.locator(".timeline").getByText("by ada").waitFor();
  });

  test("is found by its id, its reference and its customer", async () => {
    const order = await line.client.order({
      ...PLAIN_ORDER,
      reference: "INV-FOUND",
      customerId: "cust-found",
    });
    const { page } = await visitor.open("/orders");
    for (const text of [order.id, "INV-FOUND", "cust-found"]) {
      await visitor.go(page, `/orders`);
      await page.getByRole("searchbox").fill(text);
      await page.getByRole("button", { name: "Search" }).click();
      await page.getByText(order.id).first().waitFor();
    }
  });

  test("is reached by the keyboard alone, from the top of the page", async () => {
    const { page } = await visitor.open("/orders");
    await page.keyboard.press("Tab");
    expect(await page.evaluate("document.activeElement.textContent")).toBe("Skip to content");
    await page.keyboard.press("Enter");
    const focused = () => page.evaluate("document.activeElement.className");
    for (let presses = 0; presses < 20 && (await focused()) !== "id"; presses++) {
      await page.keyboard.press("Tab");
      expect(await page.evaluate("getComputedStyle(document.activeElement).outlineStyle")).toBe("solid");
    }
    await page.keyboard.press("Enter");
    await page.getByRole("heading", { name: "Timeline" }).waitFor();
  });
});

test("every page was looked at above", () => {
  // What pages load: assets, and their own parts.
  const parts = new RegExp(`^${ROOT}/(assets/.*|history|(.*/)?live)$`);
  const pages = consoleRoutes.filter(({ method, path }) => method === "GET" && !parts.test(path));
  const missed = pages.filter(({ path }) => {
    const address = new RegExp(`^${path.replaceAll(/:\w+/g, "[^/]+")}$`);
    return ![...lookedAt].some((each) => address.test(each));
  });
  expect(missed.map(({ path }) => path)).toEqual([]);
});
