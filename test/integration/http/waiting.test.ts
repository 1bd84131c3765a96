import { beforeAll, expect, test } from "@jest/globals";
import { orderStore } from "../../../db/order-store.ts";
import type { OrderBody, OrderPageBody } from "../../../src/api/schemas.ts";
import { BASIC, useApi } from "../../support/api.ts";
import { createOrder, readOrder } from "../../support/orders.ts";
import { waitFor } from "../../support/wait-for.ts";

const api = useApi();
const AT = new Date("2026-11-28T12:00:00.000Z");
const UNTIL = new Date("2126-11-29T12:00:00.000Z");

let waiting: string;
let other: string;
beforeAll(async () => {
  const { database } = api.environment;
  other = await createOrder(database);
  waiting = await createOrder(database);
  const [noted] = await orderStore(database).markWaiting([
    {
      orderId: waiting,
      status: "CREATED",
      stage: "reserve",
      for: "goods",
      since: AT,
      until: UNTIL,
      wokenAt: null,
      isNew: true,
      at: AT,
    },
  ]);
  expect(noted).toBe(true);
});

async function page(address: string): Promise<string> {
  const answer = await fetch(`${api.client.url}/console${address}`, { headers: BASIC });
  expect(answer.status).toBe(200);
  return answer.text();
}

test("an order tells what it waits for, since when and until when", async () => {
  const { body } = await api.client.get<OrderBody>(`/orders/${waiting}`);
  expect(body.waiting).toEqual({
    stage: "reserve",
    for: "goods",
    since: AT.toISOString(),
    until: UNTIL.toISOString(),
  });
  expect((await api.client.get<OrderBody>(`/orders/${other}`)).body).not.toHaveProperty("waiting");
  const { body: events } = await api.client.get<{ items: { type: string; reason: string | null }[] }>(
    `/orders/${waiting}/events`,
  );
  expect(events.items.at(-1)).toMatchObject({ type: "waiting", reason: "goods", stage: "reserve" });
});

test.each([
  ["true", () => [waiting]],
  ["false", () => [other]],
])("orders are listed by whether they wait: %s", async (value, ids) => {
  const { body } = await api.client.get<OrderPageBody>(`/orders?waiting=${value}`);
  expect(body.items.map(({ id }) => id)).toEqual(ids());
});

test("the console tells orders that wait apart", async () => {
  const list = await page("/orders?waiting=in+reserve");
  expect(list).toContain(waiting);
  expect(list).not.toContain(other);
  expect(list).toContain("waits for goods");
  expect(await page(`/orders/${waiting}`)).toMatch(/has waited for goods since/);
  // The oldest order in its stage, though the other one was updated earlier.
  const overview = await page("");
  expect(overview).toContain(`/console/orders/${other}`);
  expect(overview).toContain("/console/orders?waiting=in+reserve");
});

test("an operator has the stage asked now", async () => {
  const answer = await fetch(`${api.client.url}/console/orders/${waiting}/retry`, {
    method: "POST",
    headers: { ...BASIC, origin: api.client.url },
    redirect: "manual",
  });
  expect(answer.status).toBe(303);
  expect((await readOrder(api.environment.database, waiting)).wokenAt).not.toBeNull();
  await waitFor("its job", async () => (await page(`/orders/${waiting}`)).includes("waiting for a worker"));
});
