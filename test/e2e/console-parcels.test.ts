import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { z } from "zod";
import { startEasyPost, type EasyPostServer } from "../../tools/simulators/easypost/server.ts";
import { barriersOf } from "../support/accessibility.ts";
import { BROWSER_START_MS, SERVED_TO_BROWSER, startBrowser, type TestBrowser } from "../support/browser.ts";
import { ConsoleVisitor, takePicture } from "../support/console.ts";
import { startLine, type TestLine } from "../support/line.ts";
import { easypostVariables, HOUR_MS, SHIP_TO, WEBHOOK_SECRET } from "../support/shipping.ts";
import { waitFor } from "../support/wait-for.ts";

/* An order that an operator ships in parcels, with the console; EasyPost, as simulated, carries and tells by webhooks. */

let easypost: EasyPostServer;
let line: TestLine;
let browser: TestBrowser;
let visitor: ConsoleVisitor;
beforeAll(async () => {
  easypost = await startEasyPost({ behaviour: { transitMs: 10_000 * HOUR_MS } });
  const env = { ...SERVED_TO_BROWSER, ...easypostVariables(easypost.url), FULFILMENT: "manual" };
  line = await startLine({ env });
  await fetch(`${easypost.baseUrl}webhooks`, {
    method: "POST",
    headers: { Authorization: `Basic ${Buffer.from("EZTKtest:").toString("base64")}` },
    body: JSON.stringify({
      webhook: { url: `${line.api.url}/providers/carrier/webhook`, webhook_secret: WEBHOOK_SECRET },
    }),
  });
  browser = await startBrowser();
  visitor = new ConsoleVisitor(browser, line.api.url);
}, BROWSER_START_MS);
afterAll(async () => {
  await browser?.close();
  await line?.close();
  await easypost?.close();
});

const SKUS = ["TEAPOT", "MUG-BLUE", "MUG-RED", "SAUCER", "SPOON"];
const shipmentsBody = z.object({
  items: z.array(
    z.looseObject({ number: z.number(), state: z.string(), trackingNumber: z.string().optional() }),
  ),
});
const eventsBody = z.object({
  items: z.array(z.object({ type: z.string(), record: z.record(z.string(), z.unknown()).nullable() })),
});

async function order(): Promise<string> {
  for (const sku of SKUS) await line.client.put(`/stock/${sku}`, { onHand: 100 });
  const { id } = await line.client.order({
    customerId: "Müller & Söhne",
    reference: `SO-${SKUS.length}`,
    currency: "USD",
    paymentToken: "tok_1",
    lines: SKUS.map((sku, index) => ({ sku, name: `A fine ${sku}`, quantity: index + 1, unitPrice: 1_000 })),
    shipTo: SHIP_TO,
  });
  await waitFor("the order waits for the warehouse", async () =>
    (await line.client.get(`/orders/${id}`)).body.waiting?.for.startsWith("the warehouse"),
  );
  return id;
}

const shipmentsOf = async (id: string) =>
  shipmentsBody.parse((await line.client.get(`/orders/${id}/shipments`)).body).items;
const until = (id: string, number: number, state: string) =>
  waitFor(`parcel ${number} is ${state}`, async () =>
    (await shipmentsOf(id)).find((each) => each.number === number && each.state === state),
  );

describe("an order of five lines in three parcels", () => {
  test("one returned, one lost and shipped again, one delivered: in the console, the API and the events", async () => {
    const id = await order();
    const { page } = await visitor.open(`/orders/${id}`);
    const plan = async (pieces: Readonly<Record<string, number>>) => {
      await visitor.go(page, `/orders/${id}/shipments/new`);
      for (const [sku, count] of Object.entries(pieces))
        await page.getByLabel(`Pieces of ${sku},`).fill(String(count));
      await page.getByRole("button", { name: "Plan parcel" }).click();
      await page.locator("#parcels").waitFor();
    };
    const book = async (number: number) => {
      // The page moves while it is updated, so a click may miss.
      await waitFor(`parcel ${number} is to be booked`, async () => {
        await page
          .getByRole("button", { name: `Book parcel ${number}` })
          .click({ timeout: 2_000 })
          .catch(() => undefined);
        return (await shipmentsOf(id)).find(
          ({ number: each, state, booking }) => each === number && (state !== "PLANNED" || booking),
        );
      });
      const { trackingNumber = "" } = await until(id, number, "BOOKED");
      return trackingNumber;
    };

    await visitor.go(page, `/orders/${id}/shipments/new`);
    await page.getByLabel("Pieces of TEAPOT,").fill("7");
    await page.getByLabel("Weight in grams").fill("-5");
    await page.getByRole("button", { name: "Plan parcel" }).click();
    await page.getByRole("alert").waitFor();
    expect(await page.getByRole("alert").innerText()).toContain("Weight in grams");
    await page.getByLabel("Weight in grams").fill("800");
    await page.getByRole("button", { name: "Plan parcel" }).click();
    expect(await page.getByRole("alert").innerText()).toContain("only 1 of TEAPOT are left to ship");
    await visitor.go(page, `/orders/${id}`);

    await plan({ TEAPOT: 1, "MUG-BLUE": 2 });
    await plan({ "MUG-RED": 3 });
    await plan({});
    await takePicture(page, "parcels planned");
    const returned = await book(1);
    const lost = await book(2);
    const delivered = await book(3);
    await waitFor("SHIPPED", async () => (await line.client.get(`/orders/${id}`)).body.status === "SHIPPED");

    easypost.easypost.move(returned, "return_to_sender", "refused");
    easypost.easypost.move(lost, "failure", "lost");
    easypost.easypost.move(delivered, "delivered", "arrived_at_destination");
    await until(id, 1, "RETURNED");
    await until(id, 2, "LOST");
    await until(id, 3, "DELIVERED");
    await waitFor("the order waits for an operator", async () =>
      (await line.client.get(`/orders/${id}`)).body.waiting?.for.startsWith("an operator: 6 pieces"),
    );
    await visitor.go(page, `/orders/${id}`);
    await page.getByText("1 of 1 delivered").waitFor();
    await takePicture(page, "parcels returned and lost");
    expect(await barriersOf(page)).toEqual([]);

    expect(await page.locator("#plan").getAttribute("href")).toBe(`/console/orders/${id}/shipments/new`);
    const close = await page.getByRole("link", { name: "Close parcel 1…" }).getAttribute("href");
    await visitor.go(page, (close ?? "").replace("/console", ""));
    await page.getByLabel("Reason").fill("refunded");
    await page.getByRole("button", { name: "Close parcel" }).click();
    await page.locator("#parcel-1").getByText("closed").waitFor();
    await plan({});
    const again = await book(4);
    easypost.easypost.move(again, "delivered", "arrived_at_destination");
    await waitFor(
      "DELIVERED",
      async () => (await line.client.get(`/orders/${id}`)).body.status === "DELIVERED",
    );
    expect((await line.client.get(`/orders/${id}`)).body).toMatchObject({
      fulfilment: { shipped: 3, delivered: 2, of: 3 },
    });
    expect(await shipmentsOf(id)).toMatchObject([
      { state: "RETURNED", closedAt: expect.any(String), lines: [{ sku: "TEAPOT" }, { sku: "MUG-BLUE" }] },
      { state: "LOST", lines: [{ sku: "MUG-RED", quantity: 3 }] },
      {
        state: "DELIVERED",
        lines: [
          { sku: "SAUCER", quantity: 4 },
          { sku: "SPOON", quantity: 5 },
        ],
      },
      { state: "DELIVERED", lines: [{ sku: "MUG-RED", quantity: 3 }] },
    ]);
    const { items } = eventsBody.parse((await line.client.get(`/orders/${id}/events`)).body);
    const told = items
      .filter(({ type }) => type.startsWith("shipment."))
      .map(({ type, record }) => `${type.slice("shipment.".length)} ${String(record?.["shipment"])}`);
    expect(told.toSorted()).toEqual(
      [
        ...[1, 2, 3, 4].flatMap((number) => [`planned ${number}`, `booked ${number}`]),
        "returned 1",
        "closed 1",
        "lost 2",
        "delivered 3",
        "delivered 4",
      ].toSorted(),
    );
    expect(JSON.stringify(items)).not.toContain(SHIP_TO.line1);
    expect(items.some(({ record }) => String(record?.["trackingUrl"]).startsWith("https://track."))).toBe(
      true,
    );
    await visitor.go(page, `/orders/${id}`);
    await page.getByText("2 of 3 delivered").waitFor();
    await takePicture(page, "parcels delivered");
    await page.context().close();
  });

  test.each([
    ["the form that plans one", "/new", "Plan a parcel"],
    ["the picking list", "/picking-list", "Picking list"],
    ["a packing slip", "/1/packing-slip", "Packing slip"],
    ["the form that closes one", "/1/close", "Close parcel 1"],
  ])("has pages that fit and shut nobody out: %s", async (name, address, title) => {
    const id = await order();
    await line.client.post(`/orders/${id}/shipments`, { lines: [{ sku: "TEAPOT", quantity: 1 }] });
    const { page } = await visitor.open(`/orders/${id}/shipments${address}`);
    await page.getByRole("heading", { name: title }).waitFor();
    for (const width of [1280, 390])
      for (const colorScheme of ["light", "dark"] as const) {
        await page.setViewportSize({ width, height: 900 });
        await page.emulateMedia({ colorScheme });
        await takePicture(page, `parcels ${name} ${width} ${colorScheme}`);
        expect(await barriersOf(page, { coloursOnly: colorScheme === "dark" })).toEqual([]);
        expect(
          await page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"),
        ).toBe(0);
      }
    await page.emulateMedia({ media: "print" });
    await takePicture(page, `parcels ${name} printed`);
    expect(await page.getByRole("navigation").count()).toBe(0);
    await page.context().close();
  });
});
