import { beforeAll, describe, expect, test } from "@jest/globals";
import { Validator } from "@seriousme/openapi-schema-validator";
import type { IRouter } from "express";
import packageJson from "../../../package.json" with { type: "json" };
import { EventLog } from "../../../db/event-log.ts";
import { openOperations } from "../../../src/composition/operations.ts";
import { BackgroundCalls } from "../../../src/engine/background-calls.ts";
import { Cancellation } from "../../../src/engine/cancellation.ts";
import { lifecycle } from "../../../src/order/lifecycle.ts";
import { orderStore } from "../../../db/order-store.ts";
import { createApp } from "../../../src/api/app.ts";
import { Health } from "../../../src/api/readiness.ts";
import { isRoute } from "../../../src/api/route.ts";
import { API, PAGES } from "../../../src/api/routes.ts";
import { Hub } from "../../../src/events/live/hub.ts";
import { LogSource } from "../../../src/events/live/sources.ts";
import { createLogger } from "../../../src/platform/log.ts";
import { Parcels } from "../../../src/providers/shipping/parcels.ts";
import { Metrics } from "../../../src/platform/metrics.ts";
import { BASIC, useApi } from "../../support/api.ts";
import { describeApi, type ApiDescription } from "../../support/contract.ts";

const api = useApi();

const ERROR_HANDLER = "(errors)";

let description: ApiDescription;
beforeAll(async () => {
  description = await describeApi(api.client.url);
});

describe("/openapi.json", () => {
  test("is a valid OpenAPI 3.1 document of this version", async () => {
    const validator = new Validator();
    expect(await validator.validate({ ...description })).toEqual({ valid: true });
    expect(validator.version).toBe("3.1");
    expect(description).toMatchObject({ openapi: "3.1.0", info: { version: packageJson.version } });
  });

  test("has every route that the service answers to programs", () => {
    const described = Object.entries(description.paths).flatMap(([path, operations]) =>
      Object.keys(operations).map((method) => `${method.toUpperCase()} ${path}`),
    );
    expect(API.map(({ method, path }) => `${method} ${path.replaceAll(/:(\w+)/g, "{$1}")}`)).toEqual(
      described,
    );
  });

  test("and the service answers nothing that is not in its tables", async () => {
    const { database } = api.environment;
    const silent = createLogger({ name: "test", level: "silent" });
    const source = new LogSource(new EventLog(database));
    const dispatcher = { enqueue: nothingIsSent, revive: nothingIsSent, replace: nothingIsSent };
    const calls = new BackgroundCalls({ log: silent });
    const cancellation = new Cancellation({
      store: orderStore(database),
      dispatcher,
      lifecycle,
      calls,
    });
    const app = createApp({
      payments: {},
      ...api.environment,
      ...openOperations({ database, dispatcher, cancellation, calls, log: silent }),
      accept: nothingIsSent,
      apiKeys: [],
      health: new Health({ database }),
      live: new Hub({ database, log: new EventLog(database), source, logger: silent }),
      metrics: new Metrics(),
      refunds: { request: nothingIsSent },
      paymentWebhooks: { receive: nothingIsSent },
      parcels: new Parcels({
        database,
        provider: { name: "none", void: nothingIsSent },
        wake: nothingIsSent,
        goOn: nothingIsSent,
        onEvents: () => undefined,
        log: silent,
      }),
      version: "0",
      log: silent,
    });
    const table = [...API, ...PAGES].filter(isRoute);
    expect(routesOf(app.router).toSorted()).toEqual(
      table.map(({ method, path }) => `${method} ${path}`).toSorted(),
    );
    expect(middlewareOf(app.router)).toEqual(MIDDLEWARE);
  });

  test("names every schema that it refers to, and refers to every schema that it names", () => {
    const references = [...JSON.stringify(description).matchAll(/"#\/components\/schemas\/(\w+)"/g)];
    const referred = new Set(references.map(([, name]) => name!));
    expect([...referred].toSorted()).toEqual(Object.keys(description.components.schemas).toSorted());
  });

  test("declares every tag that it uses, and uses every tag that it declares", () => {
    const used = Object.values(description.paths).flatMap((operations) =>
      Object.values(operations).flatMap(({ tags }) => tags),
    );
    expect([...new Set(used)].toSorted()).toEqual(description.tags.map(({ name }) => name).toSorted());
  });

  test("says that health asks for no key, nor does what has a token, and all else for one", () => {
    expect(description).toMatchObject({
      security: [{ key: [] }],
      components: {
        securitySchemes: {
          key: { type: "http", scheme: "bearer" },
          login: { type: "http", scheme: "basic" },
        },
      },
    });
    for (const [path, operations] of Object.entries(description.paths)) {
      for (const operation of Object.values(operations)) {
        // Providers and services sign instead.
        const open = ["/health/", "/operations/", "/providers/"].some((begin) => path.startsWith(begin));
        expect(operation).toEqual(
          open ? expect.objectContaining({ security: [] }) : expect.not.objectContaining({ security: [] }),
        );
      }
    }
  });
});

function nothingIsSent(): Promise<never> {
  throw new Error("nothing is sent to this app");
}

/** `GET /orders/:id` for every route of a router. */
function routesOf(router: IRouter): string[] {
  return router.stack.flatMap(({ route }) => {
    if (!route) return [];
    const methods = new Set(route.stack.flatMap(({ method }) => (method ? [method.toUpperCase()] : [])));
    return [...methods].map((method) => `${method} ${route.path}`);
  });
}

/**
 * What stands in the app beside its routes, in order, by the names of the functions. Any of it could answer without being in
 * a table: so what is not here is refused, such as an app within the app, which Express names `mounted_app`.
 */
const MIDDLEWARE = [
  "servedHere",
  "helmetMiddleware",
  "helmetMiddleware",
  "neverStored",
  // The mount of /docs/assets. The board has none without queues.
  "basic",
  "sameSiteOnly",
  "serveStatic",
  "notFound",
  // What is nowhere in the console, and then anywhere.
  "basic",
  "sameSiteOnly",
  "notFound",
  ERROR_HANDLER,
  ERROR_HANDLER,
  "bearer",
  "notFound",
  ERROR_HANDLER,
  ERROR_HANDLER,
];

function middlewareOf(router: IRouter): string[] {
  return router.stack.flatMap(({ route, name, handle }) => {
    if (route) return [];
    return handle.length === 4 ? [ERROR_HANDLER] : [name];
  });
}

describe.each(["/docs", "/queues"])("the page %s", (path) => {
  let page: Response;
  let html: string;
  beforeAll(async () => {
    page = await fetch(api.client.url + path, { headers: BASIC });
    html = await page.text();
  });

  test("takes all that it loads from this service", async () => {
    const base = new URL(/<base href="([^"]*)"/.exec(html)?.[1] ?? path, api.client.url);
    const loaded = [...html.matchAll(/<(?:script|link|img)[^>]*(?:src|href)="([^"]*)"/g)].map(
      ([, address]) => new URL(address!, base),
    );
    expect(loaded.length).toBeGreaterThan(3);
    for (const address of loaded) {
      expect(address.origin).toBe(api.client.url);
      expect((await fetch(address, { headers: BASIC })).status).toBe(200);
    }
  });

  test("may load nothing from elsewhere, run no script of its own text, and stand in no other site's frame", () => {
    const policy = page.headers.get("content-security-policy") ?? "";
    expect(policy).toContain("default-src 'self'");
    expect(policy).toContain("script-src 'self';");
    expect(policy).toContain("frame-ancestors 'self'");
    expect(policy).not.toMatch(/https?:|\*/);
  });

  test("tells nobody what it is made with", () => {
    expect(page.headers.get("x-powered-by")).toBeNull();
    expect(page.headers.get("x-content-type-options")).toBe("nosniff");
  });
});
