import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import type { OrderBody } from "../../src/http/schemas.ts";
import { BROWSER_START_MS, startBrowser, type TestBrowser } from "../support/browser.ts";
import { PLAIN_ORDER } from "../support/client.ts";
import { waitFor } from "../support/wait-for.ts";
import { ConsoleVisitor, takePicture } from "../support/console.ts";
import { startLine, type TestLine } from "../support/line.ts";

const VIEWPORTS = [
  ["a desktop", { width: 1280, height: 900 }],
  ["a phone", { width: 390, height: 844 }],
] as const;
const SCHEMES = ["light", "dark"] as const;

let line: TestLine;
let browser: TestBrowser;
let visitor: ConsoleVisitor;
let failed: OrderBody;
beforeAll(async () => {
  line = await startLine({ workers: 2, env: { STAGE_ATTEMPTS: "2", CARRIER_TRANSIT_MS: "3000" } });
  browser = await startBrowser();
  visitor = new ConsoleVisitor(browser, line.api.url);
  await line.client.put("/stock/MUG-BLUE", { onHand: 100_000 });
  await Promise.all(
    Array.from({ length: 60 }, (_, index) =>
      line.client.order({
        ...PLAIN_ORDER,
        customerId: `cust-${index % 7}`,
        reference: `INV-${1_000 + index}`,
      }),
    ),
  );
  const { id } = await line.client.order({
    ...PLAIN_ORDER,
    paymentToken: "tok_down",
    reference: "INV-FAILS",
  });
  const { page } = await visitor.open("/queues");
  await page.getByRole("spinbutton", { name: "Concurrency" }).first().fill("500");
  await page.getByRole("button", { name: "Set the concurrency of reserve" }).click();
  await page.close();
  failed = await waitFor("an order has failed", async () => {
    const { body } = await line.client.get(`/orders/${id}`);
    return body.failed && body;
  });
}, BROWSER_START_MS);
afterAll(async () => {
  await browser?.close();
  await line?.close();
});

const PAGES: [string, () => Promise<string> | string][] = [
  ["overview", () => ""],
  ["orders", () => "/orders"],
  ["orders by filter", () => "/orders?status=DELIVERED&age=%3C1h"],
  ["a search in vain", () => "/orders?q=nobody"],
  ["an order that is delivered", async () => `/orders/${(await aDelivered()).id}`],
  ["an order that failed", () => `/orders/${failed.id}`],
  ["the failures", () => "/failures"],
  ["a group to resume", () => "/failures/resume?stage=pay"],
  ["a group to cancel", () => "/failures/cancel?stage=pay&reason=the+payment+provider+did+not+answer"],
  ["an order to cancel", () => `/orders/${failed.id}/cancel`],
  ["the queues", () => "/queues"],
  ["the actions", () => "/actions"],
  ["an order that is nowhere", () => "/orders/01a20691-7a8e-777a-bbfa-0d625ad32c50"],
];

async function aDelivered(): Promise<OrderBody> {
  return waitFor("an order is delivered", async () => (await line.client.orders({ status: "DELIVERED" }))[0]);
}

describe.each(VIEWPORTS)("on %s", (_, viewport) => {
  describe.each(SCHEMES)("in %s colours", (colorScheme) => {
    test.each(PAGES)("the page of %s fits, asks nobody else, and breaks no rule", async (name, address) => {
      const { page, errors, requests } = await visitor.open(await address(), { viewport, colorScheme });
      await page.locator("main h1").waitFor({ state: "attached" });
      await page.waitForLoadState("networkidle");
      await takePicture(page, `${name} ${viewport.width} ${colorScheme}`);
      expect(
        await page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"),
      ).toBe(0);
      // The browser's own word on an answer of 404.
      expect(errors.filter((error) => !error.includes("404 (Not Found)"))).toEqual([]);
      expect(requests.filter((requested) => !requested.startsWith(`${visitor.url}/`))).toEqual([]);
    });
  });
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
      "pay: RESERVED → PAID",
      "ship: PAID → SHIPPED",
      "deliver: SHIPPED → DELIVERED",
    ]);
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
    await page.getByLabel("Why").fill("ordered <b>twice</b>");
    await page.getByRole("button", { name: "Cancel the order" }).click();
    await line.client.orderIn(id, "CANCELLED");
    await visitor.go(page, `/orders/${id}`);
    await page.locator("#state").getByText("since ordered <b>twice</b>").waitFor();
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
    expect(await page.evaluate("document.activeElement.textContent")).toBe("Skip to the content");
    await page.keyboard.press("Enter");
    const focused = () => page.evaluate("document.activeElement.className");
    for (let presses = 0; presses < 20 && (await focused()) !== "id"; presses++)
      await page.keyboard.press("Tab");
    await page.keyboard.press("Enter");
    await page.getByRole("heading", { name: "Timeline" }).waitFor();
  });
});
