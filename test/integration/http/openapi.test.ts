import { beforeAll, describe, expect, test } from "@jest/globals";
import { Validator } from "@seriousme/openapi-schema-validator";
import type { IRouter } from "express";
import packageJson from "../../../package.json" with { type: "json" };
import { EventLog } from "../../../db/event-log.ts";
import { Queues } from "../../../queues/queues.ts";
import { consoleRoutes } from "../../../src/api/console/console.ts";
import { Health } from "../../../src/api/readiness.ts";
import { createApp } from "../../../src/api/app.ts";
import { Hub } from "../../../src/events/live/hub.ts";
import { LogSource } from "../../../src/events/live/sources.ts";
import { createLogger } from "../../../src/platform/log.ts";
import { Metrics } from "../../../src/platform/metrics.ts";
import { lifecycle } from "../../../src/order/lifecycle.ts";
import { WebhookEndpoints } from "../../../src/events/webhooks/endpoints.ts";
import { Networks } from "../../../src/events/webhooks/networks.ts";
import { BASIC, useApi } from "../../support/api.ts";
import { describeApi, type ApiDescription } from "../../support/contract.ts";

const api = useApi();

let description: ApiDescription;
beforeAll(async () => {
  description = await describeApi(api.client.url);
});

/** For people and their browsers: what the document describes, and the document itself. And for Prometheus. */
const PAGES = ["GET /openapi.json", "GET /docs", "GET /docs/start.js", "GET /metrics"];

describe("/openapi.json", () => {
  test("is a valid OpenAPI 3.1 document of this version", async () => {
    const validator = new Validator();
    expect(await validator.validate({ ...description })).toEqual({ valid: true });
    expect(validator.version).toBe("3.1");
    expect(description).toMatchObject({ openapi: "3.1.0", info: { version: packageJson.version } });
  });

  test("has every route that the service answers, and no other", async () => {
    const queues = new Queues({
      connection: api.environment.redis,
      steps: lifecycle.steps,
      onError: (error) => {
        throw error;
      },
    });
    const { database } = api.environment;
    const events = new EventLog(database);
    const silent = createLogger({ name: "test", level: "silent" });
    const options = {
      ...api.environment,
      queues,
      requeue: queues,
      accept: nothingIsSent,
      cancel: nothingIsSent,
      apiKeys: [],
      live: new Hub({ database, log: events, source: new LogSource(events), logger: silent }),
      metrics: new Metrics(),
      version: "0",
      log: silent,
    };
    const app = createApp(options);
    const webhooks = new WebhookEndpoints(database, new Networks());
    const pages = routesOf(consoleRoutes({ ...options, lifecycle, health: new Health(options), webhooks }));
    await queues.close();

    const described = Object.entries(description.paths).flatMap(([path, operations]) =>
      Object.keys(operations).map((method) => `${method.toUpperCase()} ${path}`),
    );
    expect(routesOf(app.router).toSorted()).toEqual([...described, ...PAGES, ...pages].toSorted());
  });

  test("names every schema that it refers to, and refers to every schema that it names", () => {
    const references = [...JSON.stringify(description).matchAll(/"#\/components\/schemas\/(\w+)"/g)];
    const referred = new Set(references.map(([, name]) => name!));
    expect([...referred].toSorted()).toEqual(Object.keys(description.components.schemas).toSorted());
  });

  test("says that health asks for no key, and all else for one", () => {
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
        const open = path.startsWith("/health/");
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

/** `GET /orders/{id}` for every route of a router and of the routers within. */
function routesOf(router: IRouter): string[] {
  return router.stack.flatMap((layer) => {
    const { route, handle } = layer;
    if (route) {
      const path = route.path.replaceAll(/:(\w+)/g, "{$1}");
      return route.stack
        .filter((handler) => handler.method)
        .map((handler) => `${handler.method.toUpperCase()} ${path}`);
    }
    return isRouter(handle) ? routesOf(handle) : [];
  });
}

function isRouter(handle: object): handle is IRouter {
  return "stack" in handle;
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
