import { describe, expect, test } from "@jest/globals";
import { BASIC, BEARER, useApi } from "../../support/api.ts";
import { isRoute } from "../../../src/api/route.ts";
import { API, PAGES } from "../../../src/api/routes.ts";
import type { Answer } from "../../support/client.ts";
import { TEST_KEY } from "../../support/processes.ts";

const SECOND_KEY = "second-key-0123456789";
const api = useApi({ API_KEYS: `${TEST_KEY},${SECOND_KEY}` });

const ID = "01a20691-7a8e-777a-bbfa-0d625ad32c50";
/** Everything that the service answers, with something in the place of parameters: there is no such order, ... */
const TABLE = [...API, ...PAGES].filter(isRoute).map(({ method, path, scope, names }) => {
  const id = names === "delivery" || names === "batch" ? "1" : ID;
  return { method, scope, path: path.replace(":id", id).replace(":sku", "A").replace(":step", "pay") };
});
const OF_KEYS = TABLE.filter(({ scope }) => scope === "key");
/** What serves everything below an address by itself. */
const MOUNTS = PAGES.flatMap((entry) => (isRoute(entry) ? [] : [entry]));
const SERVED = [
  "/docs/assets/swagger-ui.css",
  "/queues",
  "/queues/queue/pay",
  "/queues/static/favicon.ico",
  "/queues/api/queues",
].map((path) => ({ method: "GET", path }));
const OF_OPERATORS = [
  ...TABLE.filter(({ scope }) => scope === "operator"),
  ...MOUNTS.flatMap(({ mount }) =>
    [mount, `${mount}/`, `${mount}/nowhere`].map((path) => ({ method: "GET", path })),
  ),
  ...SERVED,
  { method: "PUT", path: "/queues/api/queues/pay/pause" },
];
/** For programs, and for pages, which can't send a key along. */
const STREAMS = ["/events/stream", `/orders/${ID}/stream`];

/** The answer's status; whether it has an end is not waited for. */
async function statusOf(method: string, path: string, headers: Record<string, string>): Promise<number> {
  const ended = new AbortController();
  const { status } = await fetch(api.client.url + path, { method, headers, signal: ended.signal });
  ended.abort();
  return status;
}

function basic(login: string) {
  return { authorization: `Basic ${Buffer.from(login).toString("base64")}` };
}

function expectUnauthorized(answer: Answer, scheme: "Basic" | "Bearer"): void {
  expect(answer.status).toBe(401);
  expect(answer.headers.get("www-authenticate")).toBe(`${scheme} realm="conveyor"`);
  expect(answer.headers.get("content-type")).toContain("application/problem+json");
  expect(answer.body).toMatchObject({ type: "urn:conveyor:problem:unauthorized", status: 401 });
}

const NOT_A_KEY: [string, Record<string, string>][] = [
  ["nothing", {}],
  ["a key that is not known", { authorization: `Bearer ${TEST_KEY}x` }],
  ["a part of a key", { authorization: `Bearer ${TEST_KEY.slice(0, -1)}` }],
  ["a key in other letters", { authorization: `Bearer ${TEST_KEY.toUpperCase()}` }],
  ["two keys", { authorization: `Bearer ${TEST_KEY} ${SECOND_KEY}` }],
  ["all keys as the variable has them", { authorization: `Bearer ${TEST_KEY},${SECOND_KEY}` }],
  ["an empty key", { authorization: "Bearer " }],
  ["a key without a scheme", { authorization: TEST_KEY }],
  ["another scheme", { authorization: `Digest ${TEST_KEY}` }],
  ["a key as a header of its own", { "x-api-key": TEST_KEY }],
  ["a login with a wrong password", basic("operator:wrong")],
  ["a login with the key as name", basic(`${TEST_KEY}:`)],
  ["a login without a password", basic(TEST_KEY)],
  ["a login that is no base64", { authorization: `Basic operator:${TEST_KEY}` }],
];

describe("the API", () => {
  test.each(OF_KEYS)("$method $path asks for a key", async ({ method, path }) => {
    expectUnauthorized(await api.client.raw(method, path), "Bearer");
    expectUnauthorized(await api.client.raw(method, path, { headers: BASIC }), "Bearer");
    expect(await statusOf(method, path, BEARER)).not.toBe(401);
  });

  test.each([...new Set(OF_KEYS.map(({ path }) => path))])(
    "%s asks for a key, whatever the method",
    async (path) => {
      for (const method of ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PURGE"])
        expect(`${method} ${(await api.client.raw(method, path)).status}`).toBe(`${method} 401`);
    },
  );

  test.each(NOT_A_KEY)("refuses %s", async (_, headers) => {
    expectUnauthorized(await api.client.raw("GET", "/orders", { headers }), "Bearer");
  });

  test("is not for logins: a browser sends these along for whoever asks", async () => {
    expectUnauthorized(await api.client.raw("GET", "/orders", { headers: BASIC }), "Bearer");
  });

  test("refuses a key in the address", async () => {
    expectUnauthorized(
      await api.client.raw("GET", `/orders?key=${TEST_KEY}&access_token=${TEST_KEY}`),
      "Bearer",
    );
  });

  test.each([
    ["each of its keys", `Bearer ${SECOND_KEY}`],
    ["the scheme in any letters", `bEARER ${TEST_KEY}`],
  ])("takes %s", async (_, authorization) => {
    expect((await api.client.raw("GET", "/orders", { headers: { authorization } })).status).toBe(200);
  });

  test("says without a key neither what exists, nor what is wrong with a request", async () => {
    expectUnauthorized(await api.client.raw("GET", "/nowhere"), "Bearer");
    expectUnauthorized(await api.client.raw("DELETE", "/orders"), "Bearer");
    const headers = { "content-type": "application/json" };
    expectUnauthorized(await api.client.raw("POST", "/orders", { headers, body: "{" }), "Bearer");
    expect((await api.client.get("/nowhere")).status).toBe(404);
  });

  test("says without a key nothing of an address that cannot be read", async () => {
    for (const [path, scheme] of [
      ["/orders/%ff", "Bearer"],
      ["/console/orders/%ff", "Basic"],
      ["/queues/api/queues/pay/%ff", "Basic"],
    ] as const) {
      expectUnauthorized(await api.client.raw("GET", path), scheme);
      expect(await statusOf("GET", path, scheme === "Basic" ? BASIC : BEARER)).toBe(400);
    }
  });

  test.each(["HEAD", "OPTIONS", "TRACE", "PURGE"])("%s is no way around the key", async (method) => {
    for (const path of ["/orders", "/stock/A", "/queues/api/queues", "/docs"]) {
      expect((await api.client.raw(method, path)).status).toBe(401);
    }
  });

  test.each([
    "/orders/",
    "/ORDERS",
    "/%6frders",
    "/orders;/health/live",
    "/QUEUES/api/queues",
    "/openapi.json/",
  ])("%s is no way around the key", async (path) => {
    expect((await api.client.raw("GET", path)).status).toBe(401);
  });

  test.each([
    "//orders",
    "/health/live/../../orders",
    "/health/../orders",
    "/docs/../orders",
    "/health/live%2f..%2f..%2forders",
    "/./orders",
    "//queues/api/queues",
    "/queues//api/queues",
    "/Docs/assets/../start.js",
  ])("%s, which others read otherwise, leads nowhere, with or without the key", async (path) => {
    for (const headers of [{}, BEARER, BASIC])
      expect((await api.client.raw("GET", path, { headers })).status).toBe(400);
  });

  test("lets no page of another site read it", async () => {
    const headers = { ...BEARER, origin: "https://elsewhere.example" };
    const read = await api.client.raw("GET", "/orders", { headers });
    const asked = await api.client.raw("OPTIONS", "/orders", {
      headers: { origin: headers.origin, "access-control-request-method": "POST" },
    });
    for (const answer of [read, asked]) {
      const allowed = [...answer.headers.keys()].filter((name) => name.startsWith("access-control"));
      expect(allowed).toEqual([]);
    }
    expect(asked.status).toBe(401);
  });
});

describe("live updates", () => {
  test.each([...STREAMS, `/orders/${ID}/STREAM`])("%s asks for a key or a login", async (path) => {
    expect((await api.client.raw("GET", path)).status).toBe(401);
    expect((await api.client.raw("HEAD", path)).status).toBe(401);
  });

  test.each([
    ["a key", BEARER],
    ["a login", BASIC],
  ])("open with %s", async (_, headers) => {
    for (const path of STREAMS) {
      const ended = new AbortController();
      const answer = await fetch(api.client.url + path, { headers, signal: ended.signal });
      // There is no such order, and who asks may know that.
      expect(answer.status).toBe(path.startsWith("/orders") ? 404 : 200);
      ended.abort();
    }
  });

  test("are all that opens with a login beneath /orders", async () => {
    for (const path of [
      `/orders/${ID}`,
      `/orders/${ID}/stream/events`,
      `/orders/stream`,
      "/orders/a/b/stream",
    ])
      expect((await api.client.raw("GET", path, { headers: BASIC })).status).toBe(401);
  });
});

describe("pages", () => {
  test.each(OF_OPERATORS)("$method $path asks for a login", async ({ method, path }) => {
    expectUnauthorized(await api.client.raw(method, path), "Basic");
    for (const other of ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"])
      expect(`${other} ${(await api.client.raw(other, path)).status}`).toBe(`${other} 401`);
    if (method === "GET") expect(await statusOf(method, path, BASIC)).not.toBe(401);
  });

  test.each([
    ...SERVED,
    // What needs neither an order, an endpoint, ... nor a choice.
    ...PAGES.filter(isRoute).filter(({ method, path }) => method === "GET" && !/:|failures./.test(path)),
  ])("$path opens with a login", async ({ path }) => {
    expect(await statusOf("GET", path, BASIC)).toBe(200);
  });

  test("say nothing of what exists to those who have no login", async () => {
    for (const path of ["/console/nowhere", "/queues/nowhere", "/docs/assets/nowhere"]) {
      expectUnauthorized(await api.client.raw("GET", path), "Basic");
      expect(await statusOf("GET", path, BASIC)).toBe(404);
    }
  });

  test.each(NOT_A_KEY)("refuse %s", async (_, headers) => {
    expectUnauthorized(await api.client.raw("GET", "/queues/api/queues", { headers }), "Basic");
  });

  test.each([
    ["any name", basic(`somebody:${SECOND_KEY}`)],
    ["no name", basic(`:${TEST_KEY}`)],
    ["a key, from a program", BEARER],
  ])("take %s", async (_, headers) => {
    const { status } = await fetch(`${api.client.url}/openapi.json`, { headers });
    expect(status).toBe(200);
  });
});

describe("the board", () => {
  // Promoting the delayed jobs of a queue that has none changes nothing.
  const HARMLESS = "/queues/api/queues/pay/promote";

  async function promote(headers: Record<string, string>): Promise<number> {
    const answer = await fetch(api.client.url + HARMLESS, {
      method: "PUT",
      headers: { ...BASIC, ...headers },
    });
    await answer.arrayBuffer();
    return answer.status;
  }

  test.each([
    ["another host", { origin: "https://elsewhere.example" }],
    ["another port of this host", { origin: "http://127.0.0.1:1" }],
    ["a page that keeps its origin to itself", { origin: "null" }],
    ["a page that the browser says is of another site", { "sec-fetch-site": "cross-site" }],
    ["a page of a neighbouring host", { "sec-fetch-site": "same-site" }],
  ])("does nothing that %s asks for", async (_, headers) => {
    expect(await promote(headers)).toBe(403);
  });

  test("does what its own page asks for, and programs", async () => {
    expect(await promote({ origin: api.client.url, "sec-fetch-site": "same-origin" })).toBe(200);
    expect(await promote({ origin: api.client.url })).toBe(200);
    expect(await promote({})).toBe(200);
  });

  test("works behind a proxy that calls it by another name", async () => {
    expect(await promote({ origin: "https://board.example", "sec-fetch-site": "same-origin" })).toBe(200);
  });

  test("changes nothing by GET, so that following a link is harmless", async () => {
    const { status } = await fetch(api.client.url + HARMLESS, { headers: BASIC });
    expect(status).toBe(404);
  });
});

describe("the console", () => {
  /** Everything that a form can be sent to; there is no such order, endpoint or queue. */
  const FORMS = PAGES.filter(isRoute)
    .filter(({ method }) => method !== "GET")
    .map(({ path }) =>
      path
        .replace(":step", "nowhere")
        .replace(/deliveries\/:id/, "deliveries/1")
        .replace(":id", ID),
    );

  /** What is looked at before anything else is what a form says. */
  const FILLED_IN = /\/(?:cancel|release|stock|failures\/resume|webhooks|webhooks\/[0-9a-f-]{36})$/;

  async function send(form: string, headers: Record<string, string>): Promise<number> {
    const answer = await fetch(api.client.url + form, {
      method: "POST",
      headers: { ...BASIC, "content-type": "application/x-www-form-urlencoded", ...headers },
    });
    await answer.arrayBuffer();
    return answer.status;
  }

  test.each([
    ["another host", { origin: "https://elsewhere.example" }],
    ["another port of this host", { origin: "http://127.0.0.1:1" }],
    ["a page that keeps its origin to itself", { origin: "null" }],
    ["a page that the browser says is of another site", { "sec-fetch-site": "cross-site" }],
    ["a page of a neighbouring host", { "sec-fetch-site": "same-site" }],
  ])("takes no form of %s", async (_, headers) => {
    for (const form of FORMS) expect(`${form} ${await send(form, headers)}`).toBe(`${form} 403`);
  });

  test("takes its own forms: that there is no such thing, or nothing filled in, is what it says then", async () => {
    for (const form of FORMS)
      expect(`${form} ${await send(form, { origin: api.client.url })}`).toBe(
        `${form} ${FILLED_IN.test(form) ? 422 : 404}`,
      );
  });

  test.each([
    ["a page", "/console", 200],
    ["a part of a page", "/console/live", 200],
    ["what plots are drawn from", "/console/history", 200],
    ["a page of webhooks", "/console/webhooks", 200],
    ["a page that does not exist", "/console/nowhere", 404],
    ["an order that does not exist", `/console/orders/${ID}`, 404],
    ["a filter that is none", "/console/orders?status=LOST", 400],
    ["an address that cannot be read", "/console/orders/%ff", 400],
    ["what a page loads", "/console/assets/htmx.js", 200],
  ])("has the browser load what is its own, and run nothing else: %s", async (_, path, status) => {
    const answer = await fetch(api.client.url + path, { headers: BASIC });
    await answer.arrayBuffer();
    expect(answer.status).toBe(status);
    expect(Object.fromEntries(answer.headers)).toMatchObject({
      "content-security-policy":
        "default-src 'none';script-src 'self';style-src 'self';img-src 'self';connect-src 'self';" +
        "form-action 'self';base-uri 'none';frame-ancestors 'none'",
      "referrer-policy": "same-origin",
      "x-content-type-options": "nosniff",
      "x-frame-options": "SAMEORIGIN",
      "cross-origin-resource-policy": "same-origin",
      "cache-control": path.includes("/assets/") ? "public, max-age=0" : "no-store",
    });
  });
});

describe("what is open", () => {
  test("is health, what a token opens or a provider signs, and nothing else", () => {
    expect(MOUNTS.map(({ scope }) => scope)).toEqual(MOUNTS.map(() => "operator"));
    const open = TABLE.filter(({ scope }) => scope === "public").map(({ path }) => path);
    expect(open).toEqual([
      "/providers/payments/webhook",
      "/providers/carrier/webhook",
      "/operations/:token",
      "/health/live",
      "/health/accepting",
      "/health/ready",
    ]);
  });

  test.each(["/health/live", "/health/accepting", "/health/ready"])("%s asks for nothing", async (path) => {
    expect((await api.client.raw("GET", path)).status).toBe(200);
    expect((await api.client.raw("HEAD", path)).status).toBe(200);
  });
});

test("no key is ever logged", () => {
  const log = api.process.lines.join("\n");
  expect(log).not.toContain(TEST_KEY);
  expect(log).not.toContain(SECOND_KEY);
});
