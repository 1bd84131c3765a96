import { describe, expect, test } from "@jest/globals";
import { eq } from "drizzle-orm";
import { findAction, listActions, type OperatorAction } from "../../../db/operator-actions.ts";
import { listEvents } from "../../../db/order-events.ts";
import { markFailed } from "../../../db/failures.ts";
import { orders } from "../../../db/schema.ts";
import { useApi } from "../../support/api.ts";
import { createOrder } from "../../support/orders.ts";
import { TEST_KEY } from "../../support/processes.ts";
import { waitFor } from "../../support/wait-for.ts";

const api = useApi({ WEBHOOK_ALLOWED_NETWORKS: "127.0.0.0/8" });

const OPERATOR = "Grace Hopper";
const LOGIN = { authorization: `Basic ${btoa(`${OPERATOR}:${TEST_KEY}`)}` };
const ADDRESS = "http://127.0.0.1:9/hooks";

async function page(address: string): Promise<string> {
  const answer = await fetch(`${api.client.url}/console${address}`, { headers: LOGIN });
  expect(answer.status).toBe(200);
  return answer.text();
}

/** Sends a form as its page does. */
function send(address: string, fields: Readonly<Record<string, string>> = {}): Promise<Response> {
  return fetch(`${api.client.url}/console${address}`, {
    method: "POST",
    headers: { ...LOGIN, origin: api.client.url },
    body: new URLSearchParams(fields),
    redirect: "manual",
  });
}

async function newest(): Promise<OperatorAction> {
  const [action] = (await listActions(api.environment.database, { limit: 1 })).items;
  if (action === undefined) throw new Error("nothing is written down");
  return action;
}

async function failedOrder(reason = "no answer"): Promise<string> {
  const { database } = api.environment;
  const id = await createOrder(database);
  await markFailed(database, {
    orderId: id,
    whileIn: ["CREATED"],
    stage: "reserve",
    reason,
    at: new Date(),
  });
  return id;
}

async function addEndpoint(): Promise<string> {
  const answer = await api.client.post<{ id: string }>("/webhook-endpoints", { url: ADDRESS });
  expect(answer.status).toBe(201);
  return answer.body.id;
}

async function addDelivery(endpoint: string): Promise<string> {
  const answer = await send(`/webhooks/${endpoint}/test`);
  return (answer.headers.get("location") ?? "").split("/").at(-1) ?? "";
}

async function heldOrder(): Promise<string> {
  const id = await createOrder(api.environment.database);
  await api.client.post(`/orders/${id}/holds`, { name: "fraud review", reason: "two cards" });
  return id;
}

interface Deed {
  /** The address that a form is sent to; names stand for what it is about. */
  readonly form: string;
  readonly about: () => Promise<string>;
  readonly fields?: Readonly<Record<string, string>>;
  readonly action: string;
  readonly details?: Readonly<Record<string, string | number>>;
}

const queue = () => Promise.resolve("pay");
const DEEDS: readonly Deed[] = [
  { form: "/orders/ID/retry", about: failedOrder, action: "retry" },
  {
    form: "/orders/ID/cancel",
    about: failedOrder,
    fields: { reason: "ordered twice" },
    action: "cancel",
    details: { reason: "ordered twice" },
  },
  {
    form: "/orders/ID/hold",
    about: failedOrder,
    fields: { name: "fraud review", reason: "two cards, one address" },
    action: "hold",
    details: { hold: "fraud review" },
  },
  {
    form: "/orders/ID/release",
    about: heldOrder,
    fields: { name: "fraud review" },
    action: "release",
    details: { hold: "fraud review" },
  },
  {
    form: "/orders/ID/address",
    about: failedOrder,
    fields: { name: "Ada Lovelace", line1: "Lane 1", postalCode: "V1", city: "Veiled", country: "GB" },
    action: "change",
  },
  {
    form: "/failures/resume",
    about: () => Promise.resolve("reserve"),
    fields: { stage: "reserve", reason: "no answer" },
    action: "resume-group",
    details: { reason: "no answer" },
  },
  {
    form: "/failures/cancel",
    about: () => Promise.resolve("reserve"),
    fields: { stage: "reserve", reason: "", why: "sold by mistake" },
    action: "cancel-group",
    details: { why: "sold by mistake" },
  },
  { form: "/queues/STEP/pause", about: queue, action: "pause" },
  { form: "/queues/STEP/resume", about: queue, action: "resume" },
  {
    form: "/queues/STEP/concurrency",
    about: queue,
    fields: { concurrency: "7" },
    action: "concurrency",
    details: { concurrency: 7 },
  },
  {
    form: "/queues/STEP/rate-limit",
    about: queue,
    fields: { max: "50", seconds: "2" },
    action: "rate-limit",
    details: { max: 50, seconds: 2 },
  },
  {
    form: "/webhooks",
    about: () => Promise.resolve(""),
    fields: { url: ADDRESS, description: "" },
    action: "webhook-create",
    details: { url: ADDRESS },
  },
  {
    form: "/webhooks/ID",
    about: addEndpoint,
    fields: { url: `${ADDRESS}/2`, description: "the warehouse" },
    action: "webhook-change",
    details: { url: `${ADDRESS}/2` },
  },
  { form: "/webhooks/ID/test", about: addEndpoint, action: "webhook-test" },
  { form: "/webhooks/ID/rotate-secret", about: addEndpoint, action: "webhook-rotate" },
  { form: "/webhooks/ID/disable", about: addEndpoint, action: "webhook-disable" },
  {
    form: "/webhooks/ID/enable",
    about: async () => {
      const id = await addEndpoint();
      await send(`/webhooks/${id}/disable`);
      return id;
    },
    action: "webhook-enable",
  },
  { form: "/webhooks/ID/delete", about: addEndpoint, action: "webhook-delete" },
  {
    form: "/webhooks/deliveries/ID/resend",
    about: async () => addDelivery(await addEndpoint()),
    action: "webhook-resend",
  },
];

describe("an operator's actions are recorded with who and when", () => {
  test.each(DEEDS)("$form", async ({ form, about, fields, action, details = {} }) => {
    const target = await about();
    const began = Date.now();
    const answer = await send(form.replace(/ID|STEP/, target), fields);
    expect([200, 303]).toContain(answer.status);
    const written = await newest();
    expect(written).toMatchObject({ actor: OPERATOR, action });
    expect(written.details ?? {}).toMatchObject(details);
    // Deliveries and new endpoints are written down under the endpoint's own id.
    if (form.includes("ID") && !form.includes("deliveries")) expect(written.target).toBe(target);
    expect(written.at.getTime()).toBeGreaterThanOrEqual(began - 1);
    expect(written.at.getTime()).toBeLessThanOrEqual(Date.now() + 1);
    const shown = await page("/actions");
    expect(shown).toContain(OPERATOR);
    // In words, and not by its name.
    expect(shown).not.toContain(`>${action}<`);
  });

  test("every form of every page is among them", async () => {
    const order = await failedOrder();
    const held = await heldOrder();
    await api.client.put("/stock/MUG-BLUE", { onHand: 10 });
    const endpoint = await addEndpoint();
    const delivery = await addDelivery(endpoint);
    const disabled = await addEndpoint();
    await send(`/webhooks/${disabled}/disable`);
    await send("/queues/ship/pause");
    const pages = await Promise.all(
      [
        "",
        "/orders",
        `/orders/${order}`,
        `/orders/${held}`,
        `/orders/${order}/cancel`,
        `/orders/${order}/hold`,
        `/orders/${order}/address`,
        "/stock",
        "/stock?sku=MUG-BLUE",
        "/failures",
        "/failures/resume?stage=reserve",
        "/failures/cancel?stage=reserve",
        "/queues",
        "/webhooks",
        `/webhooks/${endpoint}`,
        `/webhooks/${endpoint}/delete`,
        `/webhooks/${disabled}`,
        `/webhooks/deliveries/${delivery}`,
        "/actions",
      ].map(page),
    );
    const forms = pages.flatMap((html) =>
      [...html.matchAll(/<form[^>]*method="post"[^>]*action="\/console([^"]*)"/g)].map(([, address = ""]) =>
        address.replace(/[0-9a-f-]{36}|(?<=deliveries\/)\d+/, "ID").replace(/(?<=^\/queues\/)\w+/, "STEP"),
      ),
    );
    // Stock has its movements, which say who and when.
    const recorded = new Set(forms.filter((form) => form !== "/stock"));
    expect([...recorded].toSorted()).toEqual(DEEDS.map(({ form }) => form).toSorted());
  });
});

describe("an order's own log", () => {
  test.each([
    ["resumed", "/orders/ID/retry", {}],
    ["cancel-requested", "/orders/ID/cancel", { reason: "ordered twice" }],
  ])("has who had it %s", async (type, form, fields) => {
    const id = await failedOrder();
    await send(form.replace("ID", id), fields);
    expect(await listEvents(api.environment.database, id)).toContainEqual(
      expect.objectContaining({ type, actor: OPERATOR }),
    );
  });

  test.each([
    ["resumed", "resume", {}],
    ["cancel-requested", "cancel", { why: "sold by mistake" }],
  ])("has who had its whole group %s", async (type, verb, fields) => {
    const reason = `a reason to be ${type}`;
    const ids = await Promise.all([failedOrder(reason), failedOrder(reason)]);
    await send(`/failures/${verb}`, { stage: "reserve", reason, ...fields });
    const { id: action } = await newest();
    await waitFor("the group is done", async () => {
      const { state } = (await findAction(api.environment.database, action)) ?? {};
      return state === "done";
    });
    for (const id of ids)
      expect(await listEvents(api.environment.database, id)).toContainEqual(
        expect.objectContaining({ type, actor: OPERATOR }),
      );
  });
});

test.each([
  ["retry", {}, 303],
  ["cancel", { reason: "ordered twice" }, 409],
])("a %s that comes too late is not recorded as done", async (verb, fields, status) => {
  const { database } = api.environment;
  const id = await createOrder(database);
  await database.transaction((queries) =>
    queries.update(orders).set({ status: "DELIVERED" }).where(eq(orders.id, id)),
  );
  expect((await send(`/orders/${id}/${verb}`, fields)).status).toBe(status);
  expect(await newest()).toMatchObject({ actor: OPERATOR, action: verb, target: id, state: "failed" });
  expect(await page("/actions")).toContain("too late");
});
