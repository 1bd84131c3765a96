import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { sql } from "drizzle-orm";
import { v7 as uuidv7 } from "uuid";
import { listActions } from "../../../db/operator-actions.ts";
import { createOrders } from "../../../db/new-orders.ts";
import { disableEndpoint } from "../../../db/webhook-endpoints.ts";
import { COLUMN_LENGTHS } from "../../../db/column-lengths.ts";
import type {
  WebhookDeliveryBody,
  WebhookDeliveryDetailsBody,
  WebhookEndpointBody,
} from "../../../src/api/webhook-schemas.ts";
import { BASIC, useApi } from "../../support/api.ts";
import { newOrder } from "../../support/orders.ts";
import { startWorker, TEST_KEY, type TestProcess } from "../../support/processes.ts";
import { waitFor } from "../../support/wait-for.ts";
import { verify, WebhookReceiver } from "../../support/webhook-receiver.ts";

const OTHER_KEY = "another-test-key-42";
const ENV = { WEBHOOK_ALLOWED_NETWORKS: "127.0.0.0/8", API_KEYS: `${TEST_KEY},${OTHER_KEY}` };
const api = useApi(ENV);

type Made = WebhookEndpointBody & { readonly secret: string };
const ADDRESS = "https://shop.example/hooks";

async function make(body: object = {}): Promise<Made> {
  const answer = await api.client.post<Made>("/webhook-endpoints", { url: ADDRESS, ...body });
  expect(answer.status).toBe(201);
  return answer.body;
}

const patch = (id: string, body: object) =>
  api.client.request<WebhookEndpointBody>("PATCH", `/webhook-endpoints/${id}`, body);

describe("an endpoint", () => {
  test("is created, found, listed, changed and deleted, and its secret is shown once", async () => {
    const { secret, ...made } = await make({
      description: "the shop",
      eventTypes: ["conveyor.order.failed.v1"],
    });
    expect(secret).toMatch(/^whsec_/);
    expect(made).toMatchObject({
      url: ADDRESS,
      description: "the shop",
      eventTypes: ["conveyor.order.failed.v1"],
      enabled: true,
      failingSince: null,
      lastError: null,
      nextAttemptAt: null,
    });
    const path = `/webhook-endpoints/${made.id}`;
    expect((await api.client.get(path)).body).toEqual(made);
    const list = await api.client.get<{ items: WebhookEndpointBody[] }>("/webhook-endpoints");
    expect(list.body.items).toContainEqual(made);
    expect(JSON.stringify([list.body, (await api.client.get(path)).body])).not.toContain("whsec_");

    const changed = await patch(made.id, { eventTypes: null, enabled: false });
    expect(changed.body).toMatchObject({
      description: "the shop",
      eventTypes: null,
      enabled: false,
      disabled: { reason: expect.stringContaining("disabled by client-") },
    });
    const enabled = await patch(made.id, { enabled: true });
    expect(enabled.body).toMatchObject({ enabled: true });
    expect(enabled.body.disabled).toBeUndefined();

    expect((await api.client.request("DELETE", path)).status).toBe(204);
    for (const answer of [await api.client.get(path), await api.client.request("DELETE", path)])
      expect(answer).toMatchObject({ status: 404, body: { type: "urn:conveyor:problem:not-found" } });
  });

  test("gets another secret on request", async () => {
    const made = await make();
    const rotated = await api.client.post<Made>(`/webhook-endpoints/${made.id}/rotate-secret`, undefined);
    expect(rotated.status).toBe(200);
    expect(rotated.body.secret).toMatch(/^whsec_/);
    expect(rotated.body.secret).not.toBe(made.secret);
  });

  test.each([
    ["http://169.254.169.254/latest", "private"],
    ["http://10.0.0.1", "private"],
    ["http://[::1]", "private"],
    ["https://user:password@shop.example", "user or password"],
    ["ftp://shop.example", "https://"],
    ["shop", "https://"],
  ])("may not be at %s: %s", async (url, message) => {
    const { id } = await make();
    for (const answer of [await api.client.post("/webhook-endpoints", { url }), await patch(id, { url })])
      expect(answer).toMatchObject({
        status: 422,
        body: { errors: [{ path: "url", message: expect.stringContaining(message) }] },
      });
  });

  test.each([
    [{}, "url"],
    [{ url: ADDRESS, secret: "whsec_mine" }, "secret"],
    [{ url: ADDRESS, eventTypes: ["order.created"] }, "eventTypes[0]"],
    [{ url: ADDRESS, eventTypes: [] }, "eventTypes"],
    [{ url: ADDRESS, description: "a".repeat(COLUMN_LENGTHS.webhookDescription + 1) }, "description"],
  ])("may not be %j", async (body, path) => {
    expect(await api.client.post("/webhook-endpoints", body)).toMatchObject({
      status: 422,
      body: { errors: [{ path }] },
    });
  });

  test("that does not exist can't be changed, tested or listed", async () => {
    for (const id of [uuidv7(), "x"]) {
      const path = `/webhook-endpoints/${id}`;
      const answers = [
        await api.client.get(path),
        await patch(id, { enabled: true }),
        await api.client.post(`${path}/rotate-secret`, undefined),
        await api.client.post(`${path}/test`, undefined),
        await api.client.get(`${path}/deliveries`),
      ];
      expect(answers.map(({ status }) => status)).toEqual([404, 404, 404, 404, 404]);
    }
    for (const id of ["1", "x", "9".repeat(20)]) {
      expect((await api.client.get(`/webhook-deliveries/${id}`)).status).toBe(404);
      expect((await api.client.post(`/webhook-deliveries/${id}/resend`, undefined)).status).toBe(404);
    }
  });

  test("that is disabled is sent no test message", async () => {
    const { id } = await make();
    await patch(id, { enabled: false });
    expect(await api.client.post(`/webhook-endpoints/${id}/test`, undefined)).toMatchObject({
      status: 409,
      body: { type: "urn:conveyor:problem:endpoint-disabled" },
    });
  });

  test("has its actions recorded with who did them, without its secret", async () => {
    const { id } = await make();
    await patch(id, { description: "another" });
    await api.client.request("DELETE", `/webhook-endpoints/${id}`);
    const { items } = await listActions(api.environment.database, { limit: 100 });
    const own = items.filter(({ target }) => target === id);
    expect(own.map(({ action }) => action)).toEqual(["webhook-delete", "webhook-change", "webhook-create"]);
    for (const { actor } of own) expect(actor).toMatch(/^client-[0-9a-f]{8}$/);
    expect(JSON.stringify(items)).not.toContain("whsec_");
    expect(api.process.lines.join("\n")).not.toContain("whsec_");
  });
});

describe("with a worker", () => {
  let worker: TestProcess;
  let receiver: WebhookReceiver;
  beforeAll(async () => {
    worker = await startWorker({ ...api.environment, env: ENV });
    receiver = await WebhookReceiver.start((response, _received, number) => {
      response.writeHead(number === 1 ? 500 : 200).end(number === 1 ? "not yet" : "thanks");
    });
  });
  afterAll(async () => {
    await worker?.stop();
    await receiver?.close();
  });

  test("a test message is sent, its delivery shows the response, and it is resent on request", async () => {
    const { id, secret } = await make({ url: receiver.url });
    const { status, body } = await api.client.post<WebhookDeliveryBody>(
      `/webhook-endpoints/${id}/test`,
      undefined,
    );
    expect(status).toBe(202);
    expect(body).toMatchObject({ state: "pending", orderId: null, type: "conveyor.webhook.test.v1" });
    const path = `/webhook-deliveries/${body.id}`;
    const details = () => api.client.get<WebhookDeliveryDetailsBody>(path);
    await waitFor("an attempt", async () => (await details()).body.attempts === 1);
    expect((await details()).body).toMatchObject({
      state: "pending",
      lastStatus: 500,
      nextAttemptAt: expect.any(String),
      history: [{ status: 500, response: "not yet", error: null, url: receiver.url }],
    });
    const resent = await api.client.post<WebhookDeliveryBody>(`${path}/resend`, undefined);
    expect(resent).toMatchObject({ status: 202, body: { attempts: 0, state: "pending" } });
    await waitFor("it to be delivered", async () => (await details()).body.state === "delivered");
    const { body: delivered } = await details();
    expect(delivered.history.map((attempt) => attempt.status)).toEqual([200, 500]);
    expect(delivered.body).toBe(receiver.received[0]?.body);
    expect(receiver.received.map((received) => received.id)).toEqual([body.messageId, body.messageId]);
    for (const received of receiver.received) verify(secret, received);
  });

  test("messages are signed with the last two secrets too, after rotating twice in a day", async () => {
    const made = await make({ url: receiver.url });
    const secrets = [made.secret];
    for (let rotations = 0; rotations < 3; rotations++) {
      const rotated = await api.client.post<Made>(`/webhook-endpoints/${made.id}/rotate-secret`, undefined);
      secrets.push(rotated.body.secret);
      const sent = await api.client.post<WebhookDeliveryBody>(
        `/webhook-endpoints/${made.id}/test`,
        undefined,
      );
      const message = await waitFor("the message", () =>
        receiver.received.find(({ id }) => id === sent.body.messageId),
      );
      for (const secret of secrets.slice(-3)) verify(secret, message);
      if (secrets.length > 3) expect(() => verify(made.secret, message)).toThrow("No matching signature");
    }
  });

  test("deliveries are listed page by page, newest first, and by their state", async () => {
    const { id } = await make({ url: receiver.url });
    await createOrders(
      api.environment.database,
      Array.from({ length: 5 }, () => newOrder()),
    );
    type Page = { items: WebhookDeliveryBody[]; nextCursor: string | null };
    const list = (query: string) => api.client.get<Page>(`/webhook-endpoints/${id}/deliveries${query}`);
    await waitFor("the deliveries", async () => (await list("?state=delivered")).body.items.length >= 5);
    const all = (await list("")).body.items;
    const found: WebhookDeliveryBody[] = [];
    for (let cursor: string | null = ""; cursor !== null;) {
      const { body }: { body: Page } = await list(`?limit=2${cursor && `&cursor=${cursor}`}`);
      found.push(...body.items);
      cursor = body.nextCursor;
    }
    expect(found.map((delivery) => delivery.id)).toEqual(all.map((delivery) => delivery.id));
    expect(all.map((delivery) => delivery.id)).toEqual(
      all.map((delivery) => delivery.id).toSorted((a, b) => b - a),
    );
    expect((await list("?state=failed")).body).toEqual({ items: [], nextCursor: null });
    for (const query of ["?state=lost", "?limit=0", "?cursor=x", "?page=2"])
      expect((await list(query)).status).toBe(400);
  });
});

describe("the console", () => {
  const page = (path: string, form?: Record<string, string>) =>
    fetch(`${api.client.url}/console/webhooks${path}`, {
      headers: BASIC,
      redirect: "manual",
      ...(form && { method: "POST", body: new URLSearchParams(form) }),
    });

  test("makes an endpoint, shows its secret once, and lists it", async () => {
    const made = await page("", {
      url: "https://shop.example/<console>",
      description: "",
      eventTypes: "failed",
    });
    expect(made.status).toBe(200);
    const text = await made.text();
    const secret = /whsec_[\w+/=]+/.exec(text)?.[0];
    const id = /\/console\/webhooks\/([0-9a-f-]{36})/.exec(text)?.[1];
    expect([secret, id]).toEqual([expect.any(String), expect.any(String)]);
    const [list, one] = await Promise.all(["", `/${id}`].map(async (path) => (await page(path)).text()));
    for (const shown of [list, one]) {
      expect(shown).toContain("https://shop.example/&lt;console&gt;");
      expect(shown).not.toContain("whsec_");
    }
    expect((await page(`/${id}/disable`, {})).headers.get("location")).toBe(`/console/webhooks/${id}`);
    expect(await (await page(`/${id}`)).text()).toContain("disabled by operator");
    expect((await page(`/${id}/delete`, {})).headers.get("location")).toBe("/console/webhooks");
    expect((await page(`/${id}`)).status).toBe(404);
    expect(await (await fetch(`${api.client.url}/console/actions`, { headers: BASIC })).text()).toContain(
      "deleted the webhook endpoint",
    );
  });

  test("refuses private addresses", async () => {
    const refused = await page("", { url: "http://10.0.0.1", description: "" });
    expect(refused.status).toBe(422);
    expect(await refused.text()).toContain("private");
  });

  test("shows a delivery with what was sent and what was answered", async () => {
    const { id } = await make();
    const { body } = await api.client.post<WebhookDeliveryBody>(`/webhook-endpoints/${id}/test`, undefined);
    const shown = await (await page(`/deliveries/${body.id}`)).text();
    expect(shown).toContain(`webhook-id: test-${body.id}`);
    const again = await page(`/deliveries/${body.id}/resend`, {});
    expect(again.headers.get("location")).toBe(`/console/webhooks/deliveries/${body.id}`);
  });
});

describe("under an Idempotency-Key", () => {
  const TIMES = 50;
  const fresh = () => ({ "idempotency-key": randomUUID() });
  const endpoints = async () =>
    (await api.client.get<{ items: WebhookEndpointBody[] }>("/webhook-endpoints")).body.items;
  const create = (key: Record<string, string>, body: object = {}) =>
    api.client.post<Made>("/webhook-endpoints", { url: ADDRESS, ...body }, key);
  const rotate = (id: string, key: Record<string, string>) =>
    api.client.post<Made>(`/webhook-endpoints/${id}/rotate-secret`, {}, key);
  const actionsOn = async (id: string, name: string) =>
    (await listActions(api.environment.database, { limit: 1_000 })).items.filter(
      ({ target, action }) => target === id && action === name,
    );

  test("an endpoint is created once, and its secret returned again to a repeated request", async () => {
    const key = fresh();
    const first = await create(key);
    const again = await create(key);
    expect(first.headers.get("idempotent-replayed")).toBeNull();
    expect(again).toMatchObject({ status: 201, body: first.body });
    expect(again.headers.get("idempotent-replayed")).toBe("true");
    expect(again.headers.get("location")).toBe(first.headers.get("location"));
    expect(await actionsOn(first.body.id, "webhook-create")).toHaveLength(1);
  });

  test("fifty requests at once make one endpoint, and get the same answer", async () => {
    const key = fresh();
    const before = (await endpoints()).length;
    const answers = await Promise.all(Array.from({ length: TIMES }, () => create(key)));
    expect(new Set(answers.map(({ status, body }) => JSON.stringify([status, body]))).size).toBe(1);
    expect(answers.filter(({ headers }) => headers.get("idempotent-replayed") === null)).toHaveLength(1);
    expect(await endpoints()).toHaveLength(before + 1);
  });

  test("another endpoint is refused", async () => {
    const key = fresh();
    await create(key);
    const before = (await endpoints()).length;
    expect(await create(key, { description: "another one" })).toMatchObject({
      status: 422,
      body: { type: "urn:conveyor:problem:idempotency-key-reused" },
    });
    expect(await endpoints()).toHaveLength(before);
  });

  test("a secret is rotated once, though fifty ask at once, and returned to each", async () => {
    const { id, secret } = await make();
    const key = fresh();
    const answers = await Promise.all(Array.from({ length: TIMES }, () => rotate(id, key)));
    const secrets = new Set(answers.map(({ status, body }) => `${status} ${body.secret}`));
    expect(secrets.size).toBe(1);
    expect(secrets).not.toContain(`200 ${secret}`);
    expect(answers.filter(({ headers }) => headers.get("idempotent-replayed") === null)).toHaveLength(1);
    expect(await actionsOn(id, "webhook-rotate")).toHaveLength(1);
    expect((await rotate(id, fresh())).body.secret).not.toBe(answers[0]?.body.secret);
  });

  test("a secret that was rotated since is not returned again", async () => {
    const [making, replacing] = [fresh(), fresh()];
    const { id } = (await create(making)).body;
    await rotate(id, replacing);
    await rotate(id, fresh());
    const refused = { status: 409, body: { type: "urn:conveyor:problem:secret-not-told" } };
    expect(await create(making)).toMatchObject(refused);
    expect(await rotate(id, replacing)).toMatchObject(refused);
  });

  test("a secret is not returned again after a day", async () => {
    const [making, replacing] = [fresh(), fresh()];
    const { id } = (await create(making)).body;
    const { database } = api.environment;
    await database.transaction((queries) =>
      queries.execute(
        sql`UPDATE webhook_endpoints SET created_at = created_at - INTERVAL 25 HOUR WHERE id = ${id}`,
      ),
    );
    expect((await create(making)).status).toBe(409);
    await rotate(id, replacing);
    await database.transaction((queries) =>
      queries.execute(
        sql`UPDATE webhook_endpoints SET previous_secret_until = NOW(3) - INTERVAL 1 HOUR WHERE id = ${id}`,
      ),
    );
    expect((await rotate(id, replacing)).status).toBe(409);
  });

  test("of another client it is another request", async () => {
    const key = fresh();
    const first = await create(key);
    const other = await api.client.post<Made>(
      "/webhook-endpoints",
      { url: ADDRESS },
      {
        ...key,
        authorization: `Bearer ${OTHER_KEY}`,
      },
    );
    expect(other.status).toBe(201);
    expect(other.body.id).not.toBe(first.body.id);
  });

  test("a malformed key is refused", async () => {
    expect((await create({ "idempotency-key": "" })).status).toBe(400);
  });
});

test("a form of the console that is sent twice makes one endpoint, and replaces a secret once", async () => {
  const send = (path: string, form: string) =>
    fetch(new URL(`/console/webhooks${path}`, api.client.url), {
      method: "POST",
      headers: { ...BASIC, "content-type": "application/x-www-form-urlencoded" },
      body: new URLSearchParams({ form, url: ADDRESS, description: "from a form" }),
    }).then((answer) => answer.text());
  const secretIn = (page: string) => /whsec_[^<]+/.exec(page)?.[0];
  const form = randomUUID();
  const [first, again] = [await send("", form), await send("", form)];
  expect(secretIn(first)).toMatch(/^whsec_/);
  expect(secretIn(again)).toBe(secretIn(first));
  const id = /\/console\/webhooks\/([\w-]{36})/.exec(first)?.[1] ?? "";
  const second = randomUUID();
  const [replaced, twice] = [
    await send(`/${id}/rotate-secret`, second),
    await send(`/${id}/rotate-secret`, second),
  ];
  expect(secretIn(replaced)).not.toBe(secretIn(first));
  expect(secretIn(twice)).toBe(secretIn(replaced));
});

describe("without a key", () => {
  const deliveries = async (id: string) =>
    (await api.client.get<{ items: unknown[] }>(`/webhook-endpoints/${id}/deliveries`)).body.items;

  test("a delivery that is sent again fifty times at once is one delivery, with all its attempts", async () => {
    const { id } = await make();
    const { body } = await api.client.post<{ id: number }>(`/webhook-endpoints/${id}/test`, {});
    const answers = await Promise.all(
      Array.from({ length: 50 }, () => api.client.post(`/webhook-deliveries/${body.id}/resend`, {})),
    );
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([202]));
    expect(await deliveries(id)).toHaveLength(1);
  });

  test("an endpoint that is disabled fifty times at once is disabled once", async () => {
    const { id } = await make();
    const answers = await Promise.all(Array.from({ length: 50 }, () => patch(id, { enabled: false })));
    expect(new Set(answers.map(({ status, body }) => `${status} ${body.disabled?.at}`)).size).toBe(1);
    const { items } = await listActions(api.environment.database, { limit: 1_000 });
    expect(items.filter(({ target, action }) => target === id && action === "webhook-disable")).toHaveLength(
      1,
    );
  });
});

test("an endpoint that is dead is told by the API, the console, its overview, and a metric", async () => {
  const { id } = await make({ description: "the shop" });
  await api.environment.database.transaction((queries) =>
    queries.execute(sql`UPDATE webhook_endpoints SET failing_since = NOW(3) - INTERVAL 20 MINUTE,
      last_error = 'no answer within 10000 ms', next_attempt_at = NOW(3) + INTERVAL 5 MINUTE WHERE id = ${id}`),
  );
  expect((await api.client.get(`/webhook-endpoints/${id}`)).body).toMatchObject({
    enabled: true,
    failingSince: expect.any(String),
    lastError: "no answer within 10000 ms",
    nextAttemptAt: expect.any(String),
  });
  const page = async (path: string) => (await fetch(`${api.client.url}${path}`, { headers: BASIC })).text();
  for (const path of ["/console/webhooks", `/console/webhooks/${id}`]) {
    expect(await page(path)).toContain("no answer within 10000 ms");
    expect(await page(path)).toContain("next attempt");
  }
  expect(await page("/console")).toContain("Webhook endpoint the shop has failed for 20 min");
  expect(await page("/metrics")).toMatch(
    new RegExp(`conveyor_webhook_endpoint_failing_seconds\\{endpoint="${id}"\\} 12\\d\\d`),
  );
});

test("an endpoint that Conveyor disabled is told by the overview and a metric until somebody enables it; not one that an operator disabled", async () => {
  const { database } = api.environment;
  const own = await make({ description: "the archive" });
  const gone = await make({ description: "the warehouse" });
  await patch(own.id, { enabled: false });
  await disableEndpoint(database, gone.id, "it answered 410 Gone");
  const page = async (path: string) => (await fetch(`${api.client.url}${path}`, { headers: BASIC })).text();
  const told =
    /Webhook endpoint the warehouse was disabled [^:]+ ago: it answered 410 Gone\. Enable or delete it\./;
  const overview = await waitFor("the overview to tell it", async () => {
    const text = await page("/console");
    return told.test(text) && text;
  });
  expect(overview).not.toContain("the archive was disabled");
  const series = (id: string) => `conveyor_webhook_endpoint_disabled_seconds{endpoint="${id}"}`;
  const metrics = await page("/metrics");
  expect(metrics).toContain(series(gone.id));
  expect(metrics).not.toContain(series(own.id));

  await patch(gone.id, { enabled: true });
  await waitFor("the overview to tell it no more", async () => !told.test(await page("/console")));
  expect(await page("/metrics")).not.toContain(series(gone.id));
});
