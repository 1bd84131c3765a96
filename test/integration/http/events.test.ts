import { expect, test } from "@jest/globals";
import { applyTransitions } from "../../../db/transitions.ts";
import { requestCancellation } from "../../../db/cancellations.ts";
import { useApi } from "../../support/api.ts";
import { PLAIN_ORDER } from "../../support/client.ts";
import { createOrder } from "../../support/orders.ts";

const api = useApi();

interface Page {
  readonly items: readonly { readonly id: string; readonly subject: string; readonly type: string }[];
  readonly next: number;
  readonly more: boolean;
}

const page = async (query = "") => (await api.client.get<Page>(`/events${query}`)).body;

test("events are listed in order, as CloudEvents, from any point on", async () => {
  const { next: before } = await page();
  const { id } = await api.client.order(PLAIN_ORDER);
  const startedAt = new Date("2026-11-23T10:00:00.000Z");
  await applyTransitions(api.environment.database, [
    {
      orderId: id,
      from: "CREATED",
      to: "RESERVED",
      stage: "reserve",
      reason: null,
      record: { shelf: 7 },
      unlessCancelled: false,
      at: new Date(),
      attempt: 2,
      startedAt,
    },
  ]);
  const { items, next, more } = await page(`?after=${before}`);
  expect(items).toEqual([
    {
      specversion: "1.0",
      id: expect.any(String),
      source: "/conveyor/orders",
      type: "conveyor.order.status.v1",
      subject: id,
      time: expect.stringMatching(/^2\d{3}-.*\.\d{3}Z$/),
      datacontenttype: "application/json",
      data: { from: null, to: "CREATED", stage: null, attempt: null, startedAt: null },
    },
    expect.objectContaining({
      subject: id,
      data: {
        from: "CREATED",
        to: "RESERVED",
        stage: "reserve",
        attempt: 2,
        startedAt: "2026-11-23T10:00:00.000Z",
      },
    }),
  ]);
  expect({ next: String(next), more }).toEqual({ next: items.at(-1)?.id, more: false });
  expect((await page(`?after=${items[0]?.id}`)).items).toEqual(items.slice(1));
  expect(await page(`?after=${next}`)).toEqual({ items: [], next, more: false });
});

test("pages follow each other without a gap, and a status picks its transitions", async () => {
  const { next: before } = await page("?limit=1000");
  const orders = [];
  for (let count = 0; count < 7; count++) orders.push(await createOrder(api.environment.database));
  const seen: string[] = [];
  for (let after = before, more = true; more;) {
    const each = await page(`?after=${after}&limit=3`);
    seen.push(...each.items.map(({ subject }) => subject));
    ({ next: after, more } = each);
  }
  expect(seen).toEqual(orders);
  expect((await page(`?after=${before}&status=PAID`)).items).toEqual([]);
  expect((await page(`?after=${before}&status=CREATED&limit=2`)).items).toHaveLength(2);
});

test("events have no personal data and no free text", async () => {
  const { next: before } = await page("?limit=1000");
  const id = await createOrder(api.environment.database, {
    customerId: "jane-doe",
    reference: "for Jane",
    paymentToken: "tok_of_jane",
    shipTo: { name: "Jane Doe", line1: "1 Main St", city: "Springfield", postalCode: "1", country: "US" },
  });
  const request = { orderId: id, whileIn: ["CREATED"], reason: "Jane called", actor: "John", at: new Date() };
  await requestCancellation(api.environment.database, request);
  const { items } = await page(`?after=${before}`);
  expect(items.map(({ type }) => type)).toEqual([
    "conveyor.order.status.v1",
    "conveyor.order.cancel-requested.v1",
  ]);
  expect(JSON.stringify(items)).not.toMatch(/jane|john|main st|springfield/i);
});

test.each([
  "?after=-1",
  "?after=1e3",
  "?after=99999999999999999",
  "?limit=0",
  "?limit=1001",
  "?status=LOST",
  "?x=1",
])("%s is refused", async (query) => {
  expect((await api.client.get(`/events${query}`)).status).toBe(400);
});
