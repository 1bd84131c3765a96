import { describe, expect, test } from "@jest/globals";
import { randomUUID } from "node:crypto";
import { eq } from "drizzle-orm";
import { listActions } from "../../../db/operator-actions.ts";
import { openPayments } from "../../../db/payments.ts";
import { listRefunds } from "../../../db/refunds.ts";
import { orders } from "../../../db/schema.ts";
import type { OrderBody, StockMovementBody } from "../../../src/api/schemas.ts";
import { firstOf } from "../../../src/providers/payments/rows.ts";
import { useApi } from "../../support/api.ts";
import { PLAIN_ORDER } from "../../support/client.ts";
import { readOrder } from "../../support/orders.ts";
import { TEST_KEY } from "../../support/processes.ts";

const api = useApi();

const OPERATOR = "Grace Hopper";
const LOGIN = { authorization: `Basic ${btoa(`${OPERATOR}:${TEST_KEY}`)}` };
const ADDRESS = {
  name: "Ada Secret",
  line1: "Hidden Lane 1",
  postalCode: "V1",
  city: "Veiled",
  country: "GB",
};

async function page(address: string): Promise<string> {
  const answer = await fetch(`${api.client.url}/console${address}`, { headers: LOGIN });
  expect(answer.status).toBe(200);
  return answer.text();
}

async function send(address: string, fields: Readonly<Record<string, string>>, origin = api.client.url) {
  const answer = await fetch(`${api.client.url}/console${address}`, {
    method: "POST",
    headers: { ...LOGIN, origin },
    body: new URLSearchParams(fields),
    redirect: "manual",
  });
  return { status: answer.status, to: answer.headers.get("location"), text: await answer.text() };
}

const read = async (id: string): Promise<OrderBody> => (await api.client.get(`/orders/${id}`)).body;
const newOrder = async (fields: object = {}) => (await api.client.order({ ...PLAIN_ORDER, ...fields })).id;

/** What the page says is wrong. */
function faults(text: string): string[] {
  const alert = /role="alert">(.*?)<\/div>/s.exec(text)?.[1] ?? "";
  return Array.from(alert.matchAll(/<p>(.*?)<\/p>/gs), ([, fault = ""]) => fault.trim());
}

/** The values that the form is shown with. */
function filled(text: string): Record<string, string> {
  const inputs = text.matchAll(/<input\s[^>]*?name="(\w+)"[^>]*?value="([^"]*)"/g);
  return Object.fromEntries(Array.from(inputs, ([, name = "", value = ""]) => [name, value]));
}

async function markShipped(id: string): Promise<void> {
  await api.environment.database.transaction((queries) =>
    queries.update(orders).set({ status: "SHIPPED" }).where(eq(orders.id, id)),
  );
}

/** An order of two products, 37.50 in all, whose payment was taken. */
async function paidOrder(currency = "EUR"): Promise<string> {
  const id = await newOrder({
    currency,
    lines: [
      { sku: "MUG-BLUE", quantity: 2, unitPrice: 1_250 },
      { sku: 'TRAY "L"', quantity: 1, unitPrice: 1_250 },
    ],
  });
  const { database } = api.environment;
  const payment = firstOf(await readOrder(database, id), { name: "stripe" });
  await openPayments(database, [{ ...payment, state: "CAPTURED", providerId: "pi_1", captured: 3_750 }]);
  return id;
}
const refundsOf = async (id: string) => listRefunds(api.environment.database, [id]);

describe("an order's payments and refunds", () => {
  test("are shown with their provider's ids, and what is left can be refunded", async () => {
    const id = await paidOrder();
    const shown = await page(`/orders/${id}`);
    expect(shown).toContain("pi_1");
    expect(shown).toContain(`href="/console/orders/${id}/refund"`);
    const form = await page(`/orders/${id}/refund`);
    expect(form).toContain("EUR\u00A037.50");
    expect(form).toContain("Pieces of TRAY &quot;L&quot;, of 1 (optional)");
    expect(
      (await send(`/orders/${id}/refund`, { reason: "broken <all>", all: "yes", pieces0: "0" })).status,
    ).toBe(303);
    expect(await refundsOf(id)).toMatchObject([
      { amount: 3_750, reason: "broken <all>", actor: OPERATOR, state: "PENDING" },
    ]);
    const after = await page(`/orders/${id}`);
    expect(after).toContain("broken &lt;all&gt;");
    expect(after).not.toContain("/refund");
  });

  test("are refunded by amount, as people write it, and by pieces", async () => {
    const id = await paidOrder();
    const answers = [
      await send(`/orders/${id}/refund`, { reason: "late", amount: "1,5", pieces0: "" }),
      await send(`/orders/${id}/refund`, { reason: "broken", pieces0: "1", pieces1: "1", amount: " " }),
    ];
    expect(answers.map(({ status }) => status)).toEqual([303, 303]);
    expect(await refundsOf(id)).toMatchObject([
      { amount: 150, lines: null },
      {
        amount: 2_500,
        lines: [
          { sku: "MUG-BLUE", quantity: 1 },
          { sku: 'TRAY "L"', quantity: 1 },
        ],
      },
    ]);
  });

  test("are refunded once by a form that is sent twice", async () => {
    const id = await paidOrder();
    const { form = "" } = filled(await page(`/orders/${id}/refund`));
    const fields = { form, reason: "late", amount: "10" };
    const answers = await Promise.all([1, 2].map(() => send(`/orders/${id}/refund`, fields)));
    expect(answers.map(({ status }) => status)).toEqual([303, 303]);
    expect(await refundsOf(id)).toHaveLength(1);
  });

  test.each([
    ["an amount of too many digits", "EUR", { reason: "x", amount: "1.005" }, 422, /Amount in EUR.*10\.00/],
    ["an amount that is none", "EUR", { reason: "x", amount: "ten" }, 422, /Amount in EUR/],
    [
      "more than was taken",
      "EUR",
      { reason: "x", amount: "37.51" },
      409,
      /3751 can.+t be refunded: 3750 EUR/,
    ],
    ["part of a unit that has none", "JPY", { reason: "x", amount: "1.5" }, 422, /Amount in JPY/],
    ["no reason", "EUR", { reason: " ", amount: "1" }, 422, /Reason, for customer service: is missing/],
    ["more pieces than were ordered", "EUR", { reason: "x", pieces1: "2" }, 409, /only 1 of 2 TRAY/],
    [
      "neither amount nor pieces",
      "EUR",
      { reason: "x", pieces0: "0", pieces1: "0" },
      422,
      /everything that is left/,
    ],
    ["everything and an amount", "EUR", { reason: "x", amount: "1", all: "yes" }, 422, /must be empty/],
    ["pieces and an amount", "EUR", { reason: "x", pieces1: "1", amount: "1" }, 422, /together with lines/],
  ])("are not refunded with %s, and the form says so", async (_what, currency, fields, status, fault) => {
    const id = await paidOrder(currency);
    const answer = await send(`/orders/${id}/refund`, fields);
    expect([answer.status, faults(answer.text).join(" ")]).toEqual([status, expect.stringMatching(fault)]);
    expect(await refundsOf(id)).toEqual([]);
    const { form: _form, ...kept } = filled(answer.text);
    for (const [name, value] of Object.entries(fields).filter(([, each]) => each.trim() !== ""))
      expect([name, kept[name]]).toEqual([name, value]);
  });

  test("by pieces that are in no parcel keep those from being shipped, and the page says so", async () => {
    const id = await paidOrder("EUR");
    const fields = { reason: "x", pieces1: "1", restock: "yes" };
    expect((await send(`/orders/${id}/refund`, fields)).status).toBe(303);
    expect(await refundsOf(id)).toMatchObject([
      { restock: "done", lines: [{ sku: 'TRAY "L"', cancelled: 1 }] },
    ]);
    expect(await page(`/orders/${id}`)).toContain("1 not shipped");
  });

  test("are not refunded where nothing was paid", async () => {
    const id = await newOrder();
    expect(await page(`/orders/${id}`)).not.toContain("Payments</h2>");
    const answer = await send(`/orders/${id}/refund`, { reason: "x", all: "yes" });
    expect(answer.status).toBe(409);
    expect(faults(answer.text)).toEqual(["nothing was paid that could be refunded"]);
  });
});

describe("an order", () => {
  test("is held for a reason, says who holds it, and is released", async () => {
    const id = await newOrder();
    const hold = { name: "fraud/review", reason: "two <cards>" };
    expect(await send(`/orders/${id}/hold`, hold)).toMatchObject({
      status: 303,
      to: `/console/orders/${id}`,
    });
    expect((await read(id)).holds).toEqual([expect.objectContaining({ ...hold, actor: OPERATOR })]);
    const shown = await page(`/orders/${id}`);
    expect(shown).toContain("two &lt;cards&gt;");
    expect(shown).toContain('aria-label="Release fraud/review"');
    expect(filled(shown)).toMatchObject({ name: "fraud/review" });
    expect((await send(`/orders/${id}/release`, { name: "fraud/review" })).status).toBe(303);
    expect((await read(id)).holds).toBeUndefined();
    expect(await page(`/orders/${id}`)).not.toContain("Release fraud/review");
    const again = await send(`/orders/${id}/release`, { name: "fraud/review" });
    expect(again.status).toBe(404);
    expect(again.text).toContain("the order has no hold fraud/review");
  });

  test("is not held without a reason, and the form keeps what was filled in", async () => {
    const id = await newOrder();
    const answer = await send(`/orders/${id}/hold`, { name: 'fraud "review"', reason: "  " });
    expect(answer.status).toBe(422);
    expect(faults(answer.text)).toEqual(["Reason: is missing"]);
    expect(filled(answer.text)).toEqual({ name: "fraud &quot;review&quot;", reason: "" });
    expect((await read(id)).holds).toBeUndefined();
  });

  test("is not held once it has ended, and no page offers to", async () => {
    const id = await newOrder();
    await api.environment.database.transaction((queries) =>
      queries.update(orders).set({ status: "DELIVERED" }).where(eq(orders.id, id)),
    );
    const answer = await send(`/orders/${id}/hold`, { name: "late", reason: "too late" });
    expect(answer.status).toBe(409);
    expect(faults(answer.text)).toEqual(["the order is DELIVERED, and can no longer be held"]);
    expect(await page(`/orders/${id}`)).not.toContain("Hold…");
  });

  test("ships to the address that the form says; what is left empty is gone", async () => {
    const id = await newOrder({ shipTo: { ...ADDRESS, line2: "Attic" }, billTo: ADDRESS });
    expect(filled(await page(`/orders/${id}/address`))).toEqual({ ...ADDRESS, line2: "Attic", region: "" });
    const sent = { ...ADDRESS, line1: " New Lane 2 ", line2: "", region: "", country: "de" };
    expect((await send(`/orders/${id}/address`, sent)).status).toBe(303);
    const { shipTo, billTo } = await read(id);
    expect(shipTo).toEqual({ ...ADDRESS, line1: "New Lane 2", country: "DE" });
    expect(billTo).toEqual(ADDRESS);
  });

  test("keeps its address when the form is wrong, which says each fault by its field's label", async () => {
    const id = await newOrder({ shipTo: ADDRESS });
    const sent = {
      name: "Eve Hidden",
      line1: "",
      postalCode: "V1",
      city: "x".repeat(201),
      country: "Germany",
    };
    const answer = await send(`/orders/${id}/address`, sent);
    expect(answer.status).toBe(422);
    expect(faults(answer.text)).toEqual([
      "Address: is missing",
      "City: Too big: expected string to have &lt;=200 characters",
      "Country, as a code such as DE: must be an ISO 3166-1 alpha-2 code, such as DE",
    ]);
    expect(filled(answer.text)).toMatchObject({ name: "Eve Hidden", country: "Germany" });
    expect((await read(id)).shipTo).toEqual(ADDRESS);
  });

  test("keeps its address once the shipment is booked, and no page offers to change it", async () => {
    const id = await newOrder({ shipTo: ADDRESS });
    await markShipped(id);
    const answer = await send(`/orders/${id}/address`, { ...ADDRESS, line1: "Too Late 3" });
    expect(answer.status).toBe(409);
    expect(faults(answer.text)).toEqual(["the order is SHIPPED, and can no longer be changed"]);
    expect((await read(id)).shipTo).toEqual(ADDRESS);
    expect(await page(`/orders/${id}`)).not.toContain("Change address…");
  });

  test("has its address on its own pages only, and in no action, event or log line", async () => {
    const id = await newOrder();
    await send(`/orders/${id}/address`, ADDRESS);
    const pages = await Promise.all(["/orders", "/actions", `/orders/${id}/live`].map(page));
    const { items } = await listActions(api.environment.database, { limit: 50 });
    const { body: events } = await api.client.get(`/orders/${id}/events`);
    for (const text of [...pages, JSON.stringify(items), JSON.stringify(events), api.process.lines.join()])
      expect(text).not.toMatch(/Ada Secret|Hidden Lane/);
    expect(await page(`/orders/${id}`)).toContain("Hidden Lane 1");
  });
});

describe("stock", () => {
  const SKU = "MUG/BLUE & <b>";
  const ofSku = (sku: string) => `/stock?sku=${encodeURIComponent(sku)}`;
  const movementsOf = async (sku: string) =>
    (await api.client.get<{ items: StockMovementBody[] }>(`/stock/${encodeURIComponent(sku)}/movements`)).body
      .items;

  test("is adjusted, says who did it and why, and is listed", async () => {
    const sent = { sku: SKU, delta: "12", reason: "delivery", reference: "DN-1" };
    const added = await send("/stock", sent);
    expect(added.status).toBe(303);
    const shown = await page((added.to ?? "").replace("/console", ""));
    for (const text of ["MUG/BLUE &amp; &lt;b&gt;", "+12", OPERATOR, "delivery", "DN-1"])
      expect(shown).toContain(text);
    expect((await send("/stock", { sku: SKU, delta: "-2", reason: "broken" })).status).toBe(303);
    expect(await movementsOf(SKU)).toEqual([
      expect.objectContaining({ delta: -2, reason: "broken", reference: null, actor: OPERATOR }),
      expect.objectContaining({ delta: 12, reason: "delivery", reference: "DN-1", actor: OPERATOR }),
    ]);
    const list = await page("/stock");
    const link = /<a href="\/console(\/stock\?sku=MUG[^"]*)"/.exec(list)?.[1] ?? "";
    expect(await page(link)).toContain("-2");
  });

  test("is adjusted once by a form that is sent twice", async () => {
    const sent = { sku: "TWICE", delta: "5", reason: "delivery", form: randomUUID() };
    const answers = await Promise.all([send("/stock", sent), send("/stock", sent)]);
    expect(answers.map(({ status }) => status)).toEqual([303, 303]);
    expect(await movementsOf("TWICE")).toHaveLength(1);
    await send("/stock", { ...sent, form: randomUUID() });
    expect(await movementsOf("TWICE")).toHaveLength(2);
  });

  test.each([
    [{ delta: "0" }, ["Pieces, negative to take away: must not be 0"]],
    [{ delta: "1.5" }, ["Pieces, negative to take away: must be a whole number"]],
    [{ delta: "", reason: "" }, ["Pieces, negative to take away: is missing", "Reason: is missing"]],
    [{ delta: "-11" }, ["there are only 10 of KEPT on hand"]],
    [{ sku: "UNKNOWN", delta: "-1" }, ["there is no SKU UNKNOWN"]],
    [{ sku: ".." }, ["SKU: must not have ., .. or nothing between slashes"]],
  ])("is not adjusted by %j, and the form says why", async (fields, expected) => {
    await api.client.put("/stock/KEPT", { onHand: 10 });
    const before = await movementsOf("KEPT");
    const answer = await send("/stock", { sku: "KEPT", delta: "1", reason: "a reason", ...fields });
    expect(answer.status).toBeGreaterThanOrEqual(400);
    expect(answer.status).toBeLessThan(500);
    expect(faults(answer.text)).toEqual(expected);
    expect(filled(answer.text)).toMatchObject(fields);
    expect(await movementsOf("KEPT")).toEqual(before);
  });

  test("lists its SKUs and movements page by page, none twice and none left out", async () => {
    const skus = Array.from({ length: 60 }, (_, index) => `PAGED-${String(index).padStart(2, "0")}`);
    await api.client.post("/stock", { items: skus.map((sku) => ({ sku, onHand: 1 })) });
    for (let count = 1; count <= 60; count++) await api.client.put("/stock/PAGED-00", { onHand: 1 + count });
    const follow = async (first: string, pattern: RegExp) => {
      const found: string[] = [];
      for (let next: string | undefined = first; next !== undefined;) {
        const text: string = await page(next);
        found.push(...Array.from(text.matchAll(pattern), ([, one = ""]) => one));
        next = /rel="next"\s+href="\/console([^"]*)"/.exec(text)?.[1]?.replaceAll("&amp;", "&");
      }
      return found;
    };
    expect(await follow("/stock", />(PAGED-\d\d)<\/a>/g)).toEqual(skus);
    const moments = await follow(ofSku("PAGED-00"), /(<time )/g);
    expect(moments).toHaveLength(61);
  });

  test("of an unknown SKU is not found", async () => {
    const answer = await fetch(`${api.client.url}/console${ofSku("NONE")}`, { headers: LOGIN });
    expect(answer.status).toBe(404);
    expect(await answer.text()).toContain("there is no SKU NONE");
  });
});

test.each(["hold", "release", "address"])("the form to %s is refused from another site", async (verb) => {
  const id = await newOrder();
  const fields = { ...ADDRESS, reason: "x" };
  expect((await send(`/orders/${id}/${verb}`, fields, "http://evil.example")).status).toBe(403);
  expect(await read(id)).not.toHaveProperty("shipTo");
});

test("the form that adjusts stock is refused from another site", async () => {
  const sent = { sku: "EVIL", delta: "1", reason: "x" };
  expect((await send("/stock", sent, "http://evil.example")).status).toBe(403);
  expect((await api.client.get("/stock/EVIL")).status).toBe(404);
});
