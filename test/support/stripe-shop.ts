import { afterAll, beforeAll } from "@jest/globals";
import { default as Stripe } from "stripe";
import { z } from "zod";
import { setStock } from "../../db/stock.ts";
import { TestClient } from "./client.ts";
import { WEBHOOK_SECRET } from "./desk.ts";
import { createTestEnvironment, type TestEnvironment } from "./environment.ts";
import { startApi, startWorker, TEST_KEY, type TestProcess } from "./processes.ts";
import { waitFor } from "./wait-for.ts";

/** The whole service with Stripe, which runs here, and its webhooks. */
export interface Shop {
  readonly environment: TestEnvironment;
  /** The API first, then its workers. */
  readonly processes: readonly TestProcess[];
  readonly client: TestClient;
  readonly url: string;
  /** Stops the API, and starts another one. @returns the shop with that */
  readonly withNewApi: () => Promise<Shop>;
  /** Starts another worker, for these stages. */
  readonly addWorker: (stages: string) => Promise<void>;
}

/**
 * @param options `stages`: those of the first worker, such as `reserve,pay`; none starts if it is empty. `redisUrl`: another
 * Redis than the environment's. `concurrency`: of each stage, for tests with many orders, since Stripe runs in their process.
 */
export async function openShop(
  env: Readonly<Record<string, string>>,
  {
    stages,
    redisUrl: other,
    concurrency,
  }: { readonly stages?: string; readonly redisUrl?: string; readonly concurrency?: number } = {},
): Promise<Shop> {
  const environment = await createTestEnvironment();
  const { databaseUrl, redisUrl, providers } = environment;
  const options = {
    databaseUrl,
    redisUrl: other ?? redisUrl,
    providers,
    env: {
      STAGE_BACKOFF_MS: "20",
      // Stock is Conveyor's own: these shops test nothing of an inventory that is elsewhere.
      PROVIDERS_MODULE: "",
      PAYMENTS: "stripe",
      STRIPE_SECRET_KEY: "sk_test_e2e",
      STRIPE_WEBHOOK_SECRET: `whsec_old_one ${WEBHOOK_SECRET}`,
      STRIPE_API_URL: providers.paymentsUrl,
      ...env,
    },
  };
  const api = await startApi(options);
  const processes: TestProcess[] = [api];
  const addWorker = async (...args: string[]) => {
    const limit = concurrency === undefined ? [] : ["--concurrency", String(concurrency)];
    processes.push(await startWorker({ ...options, args: [...args, ...limit] }));
  };
  if (stages === undefined) await addWorker();
  else if (stages !== "") await addWorker("--stages", stages);
  providers.setWebhooks({ url: `${api.url}/providers/payments/webhook`, secret: WEBHOOK_SECRET });
  await setStock(environment.database, [{ sku: "MUG-BLUE", onHand: 10_000 }]);
  const shopWith = ({ url }: { readonly url: string }): Shop => ({
    environment,
    processes,
    client: new TestClient(url),
    url,
    withNewApi: async () => {
      await processes[0]?.stop();
      const next = await startApi(options);
      processes[0] = next;
      return shopWith(next);
    },
    addWorker: (only) => addWorker("--stages", only),
  });
  return shopWith(api);
}

/** Opens a shop before the tests of the file, or of the group, and closes it after them. */
export function useShop(env: Readonly<Record<string, string>> = {}): Shop {
  let shop: Shop;
  beforeAll(async () => {
    shop = await openShop(env);
  });
  afterAll(() => closeShop(shop));
  return {
    get environment() {
      return shop.environment;
    },
    get processes() {
      return shop.processes;
    },
    get client() {
      return shop.client;
    },
    get url() {
      return shop.url;
    },
    withNewApi: () => shop.withNewApi(),
    addWorker: (stages) => shop.addWorker(stages),
  };
}

export async function closeShop({ processes, environment }: Shop): Promise<void> {
  await Promise.all(processes.map((each) => each.stop()));
  await environment.close();
}

export const body = (paymentToken: string | undefined, more: object = {}) => ({
  customerId: "cust-1",
  currency: "EUR",
  lines: [{ sku: "MUG-BLUE", quantity: 3, unitPrice: 1_000 }],
  ...(paymentToken !== undefined && { paymentToken }),
  ...more,
});
const told = z.object({
  payments: z.array(
    z.looseObject({
      state: z.string(),
      providerId: z.string().nullable(),
      captured: z.number(),
      refunded: z.number(),
      action: z.record(z.string(), z.string()).optional(),
    }),
  ),
  refunds: z.array(z.looseObject({ id: z.string(), state: z.string(), amount: z.number() })),
});

export async function call(
  shop: Shop,
  method: string,
  path: string,
  content?: object,
  headers: Record<string, string> = {},
) {
  const response = await fetch(shop.url + path, {
    method,
    headers: { authorization: `Bearer ${TEST_KEY}`, "content-type": "application/json", ...headers },
    ...(content && { body: JSON.stringify(content) }),
  });
  const text = await response.text();
  const parsed: unknown = text === "" ? undefined : JSON.parse(text);
  return { status: response.status, body: parsed };
}

export const place = async (shop: Shop, token?: string, more?: object) =>
  z.object({ id: z.string() }).parse((await call(shop, "POST", "/orders", body(token, more))).body).id;
export const paymentsOf = async (shop: Shop, id: string) =>
  told.parse((await call(shop, "GET", `/orders/${id}/payments`)).body);
export const eventsOf = async (shop: Shop, id: string) => {
  const events = z.object({ items: z.array(z.looseObject({ type: z.string(), to: z.string() })) });
  return events.parse((await call(shop, "GET", `/orders/${id}/events`)).body).items;
};
export const typesOf = async (shop: Shop, id: string) =>
  (await eventsOf(shop, id)).map(({ type, to }) => (type === "status" ? to : type));
export const waitingOf = async (shop: Shop, id: string) =>
  z
    .object({ waiting: z.looseObject({ for: z.string() }).optional() })
    .parse((await call(shop, "GET", `/orders/${id}`)).body).waiting;
/** An order whose customer has to confirm the payment, and does. @returns its id, and the payment's at Stripe */
export async function placeConfirmed(shop: Shop, more?: object) {
  const id = await place(shop, "pm_card_authenticationRequired", more);
  await waitFor("the order to wait", () => waitingOf(shop, id));
  const intent = (await paymentsOf(shop, id)).payments[0]?.providerId ?? "";
  await happens(shop, intent, "authenticate");
  return { id, intent };
}

/** What is told of an order that was authorized, confirmed by its customer, and captured when it shipped. */
export const CAPTURED_ON_SHIPMENT = [
  "CREATED",
  "RESERVED",
  "payment.pending",
  "payment.authorized",
  "PAID",
  "payment.captured",
  "shipment.booked",
  "SHIPPED",
  "shipment.delivered",
  "DELIVERED",
] as const;

/** What happens at Stripe: the customer authenticates or disputes, or the authorization runs out. */
export const happens = (
  shop: Shop,
  paymentId: string | null | undefined,
  what: "authenticate" | "expire" | `dispute${string}`,
) =>
  fetch(`${shop.environment.providers.paymentsUrl}/simulator/payment_intents/${paymentId}/${what}`, {
    method: "POST",
  });
export const refund = (shop: Shop, id: string, content: object, headers?: Record<string, string>) =>
  call(shop, "POST", `/orders/${id}/refunds`, { reason: "arrived broken", ...content }, headers);

/**
 * The customer disputes a payment.
 *
 * @param how `?amount=500` of it, or `?inquiry=true`: the bank only asks. @returns what ends the dispute, or makes one of an inquiry
 */
export async function dispute(shop: Shop, paymentId: string | null | undefined, how = "") {
  const answer = await happens(shop, paymentId, `dispute${how}`);
  const made = z.object({ id: z.string() }).parse(await answer.json());
  const url = `${shop.environment.providers.paymentsUrl}/v1/disputes/${made.id}`;
  return async (end: "winning" | "losing" | "escalate_inquiry") => {
    const evidence = new URLSearchParams({ "evidence[uncategorized_text]": `${end}_evidence` });
    const headers = { authorization: "Bearer sk_test_e2e" };
    const response = await fetch(url, { method: "POST", headers, body: evidence });
    if (!response.ok) throw new Error(`the dispute did not end: ${response.status}`);
  };
}

/** Sends a webhook as Stripe would. */
export function sendWebhook(shop: Shop, type: string, object: object): Promise<Response> {
  const payload = JSON.stringify({ id: "evt_1", object: "event", type, data: { object } });
  const signature = Stripe.webhooks.generateTestHeaderString({ payload, secret: WEBHOOK_SECRET });
  return fetch(`${shop.url}/providers/payments/webhook`, {
    method: "POST",
    headers: { "content-type": "application/json", "stripe-signature": signature },
    body: payload,
  });
}
