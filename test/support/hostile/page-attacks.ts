import { appRoutes } from "@bull-board/api/dist/routes.js";
import * as fc from "fast-check";
import { lifecycle } from "../../../src/order/lifecycle.ts";
import { BASIC } from "../api.ts";
import { instead, nastyHeaders, noKey, withHeaders, withQuery } from "./operation-attacks.ts";
import type { Attack, HttpRequest } from "./request.ts";
import { nastyJson, nastyName, nastyQuery, nastySegment, noJson } from "./values.ts";

/** What people open, and paths that lead nowhere. */
const PAGES = [
  "/",
  "/favicon.ico",
  "/robots.txt",
  "/health",
  "/docs",
  "/docs/start.js",
  "/docs/assets/index.html",
  "/docs/assets",
  "/openapi.json",
  "/metrics",
  "/queues",
  "/queues/static/favicon.ico",
  "/queues/static",
  "/queues/queue/pay",
  "/queues/api",
  "/console",
  "/console/history",
  "/console/live",
  "/console/orders",
  "/console/orders/01a20691-7a8e-777a-bbfa-0d625ad32c50",
  "/console/orders/01a20691-7a8e-777a-bbfa-0d625ad32c50/live",
  "/console/orders/01a20691-7a8e-777a-bbfa-0d625ad32c50/cancel",
  "/console/orders/01a20691-7a8e-777a-bbfa-0d625ad32c50/hold",
  "/console/orders/01a20691-7a8e-777a-bbfa-0d625ad32c50/address",
  "/console/orders/01a20691-7a8e-777a-bbfa-0d625ad32c50/refund",
  "/console/orders/01a20691-7a8e-777a-bbfa-0d625ad32c50/shipments/new",
  "/console/orders/01a20691-7a8e-777a-bbfa-0d625ad32c50/shipments/picking-list",
  "/console/orders/01a20691-7a8e-777a-bbfa-0d625ad32c50/shipments/1/packing-slip",
  "/console/orders/01a20691-7a8e-777a-bbfa-0d625ad32c50/shipments/1/close",
  "/console/stock",
  "/console/failures",
  "/console/failures/resume",
  "/console/failures/cancel",
  "/console/failures/progress",
  "/console/failures/progress/1",
  "/console/failures/progress/1/live",
  "/console/queues",
  "/console/actions",
  "/console/webhooks",
  "/console/webhooks/01a20691-7a8e-777a-bbfa-0d625ad32c50",
  "/console/webhooks/01a20691-7a8e-777a-bbfa-0d625ad32c50/delete",
  "/console/webhooks/deliveries/1",
  "/console/assets/console.js",
];

/** What the pages of the console look for in an address. */
const CONSOLE_NAMES = [
  "q",
  "status",
  "failed",
  "age",
  "before",
  "after",
  "customer",
  "reference",
  "sku",
  "stage",
  "reason",
  "state",
];

const PAGE_METHODS = ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "HEAD"];

/** Pages that are served under names that are known. */
const SERVED = /^\/(?:console|queues|docs)(?:\/|$)/;
const foreignHost = fc.constantFrom(
  "evil.example",
  "evil.example:3000",
  "127.0.0.1.evil.example",
  "localhost.evil.example",
  "api",
  "localhost, evil.example",
  "user@localhost",
);

function foreign(page: HttpRequest, host: string): HttpRequest {
  return { ...withHeaders([page, { host }]), expected: "refused" };
}

export function pageAttacks(): Attack[] {
  return PAGES.flatMap((path) => {
    const page = logged("GET", path);
    const attack = (kind: string, request: fc.Arbitrary<HttpRequest>): Attack => ({
      kind,
      target: `GET ${path}`,
      request,
    });
    const attacks = [
      attack(
        "path",
        nastySegment.map((segment) => logged("GET", `${path.replace(/\/$/, "")}/${segment}`)),
      ),
      attack(
        "query",
        nastyQuery(path.startsWith("/console") ? CONSOLE_NAMES : []).map((query) => withQuery([page, query])),
      ),
      attack(
        "headers",
        nastyHeaders.map((headers) => withHeaders([page, headers])),
      ),
      attack(
        "method",
        fc.constantFrom(...PAGE_METHODS).map((method) => logged(method, path)),
      ),
      attack(
        "method",
        fc.constantFrom("POST", "PUT", "PATCH").map((method) => withJson(logged(method, path), "{")),
      ),
    ];
    if (SERVED.test(path))
      attacks.push(
        attack(
          "host",
          foreignHost.map((host) => foreign(page, host)),
        ),
      );
    return path.startsWith("/health") ? attacks : attacks.concat(attack("key", noKey.map(instead(page))));
  });
}

/** What the forms of the console change; of orders, endpoints and deliveries those that are not there. */
const FORMS = [
  "/console/orders/01a20691-7a8e-777a-bbfa-0d625ad32c50/retry",
  "/console/orders/01a20691-7a8e-777a-bbfa-0d625ad32c50/cancel",
  "/console/orders/01a20691-7a8e-777a-bbfa-0d625ad32c50/hold",
  "/console/orders/01a20691-7a8e-777a-bbfa-0d625ad32c50/release",
  "/console/orders/01a20691-7a8e-777a-bbfa-0d625ad32c50/address",
  "/console/orders/01a20691-7a8e-777a-bbfa-0d625ad32c50/refund",
  ...["new", "1/book", "1/void", "1/close"].map(
    (deed) => `/console/orders/01a20691-7a8e-777a-bbfa-0d625ad32c50/shipments/${deed}`,
  ),
  "/console/stock",
  "/console/failures/resume",
  "/console/failures/cancel",
  "/console/webhooks",
  ...["", "/rotate-secret", "/enable", "/disable", "/test", "/delete"].map(
    (deed) => `/console/webhooks/01a20691-7a8e-777a-bbfa-0d625ad32c50${deed}`,
  ),
  "/console/webhooks/deliveries/1/resend",
];
/** Forms that say all by their address: there, every request of a user's own would be meant. */
const BUTTONS = ["pause", "resume", "concurrency", "rate-limit"].flatMap((deed) =>
  lifecycle.steps.map(({ name }) => `/console/queues/${name}/${deed}`),
);
const FORM_NAMES = [
  "stage",
  "reason",
  "why",
  "url",
  "description",
  "eventTypes",
  "enabled",
  "concurrency",
  "name",
  "sku",
  "line1",
  "country",
];

/** The console's forms, filled with what no form has, sent from elsewhere, or by somebody without a key. */
export function formAttacks(): Attack[] {
  const targeted = (path: string, attacks: readonly (readonly [string, fc.Arbitrary<HttpRequest>])[]) =>
    attacks.map(([kind, request]): Attack => ({ kind, target: `POST ${path}`, request }));
  return [...FORMS, ...BUTTONS].flatMap((path) => {
    const form = withForm(logged("POST", path), "");
    const filled = nastyForm.map((text) => withForm(form, text));
    return targeted(path, [
      ["another site", fc.tuple(filled, elsewhere).map(withHeaders).map(refused)],
      ["key", fc.tuple(filled, noKey).map(([request, headers]) => instead(request)(headers))],
      ...(FORMS.includes(path) ? ([["form", filled.map(refused)]] as const) : []),
    ]);
  });
}

/** A request of somebody who has logged in. */
function logged(method: string, path: string): HttpRequest {
  return { via: "http", method, path, headers: BASIC, expected: "any" };
}

function withJson(request: HttpRequest, json: string): HttpRequest {
  return {
    ...request,
    headers: { ...request.headers, "content-type": "application/json" },
    body: Buffer.from(json),
  };
}

function withForm(request: HttpRequest, text: string): HttpRequest {
  return {
    ...request,
    headers: { ...request.headers, "content-type": "application/x-www-form-urlencoded" },
    body: Buffer.from(text),
  };
}

function refused(request: HttpRequest): HttpRequest {
  return { ...request, expected: "refused" };
}

/** What a queue has in Redis beside its jobs. */
const NO_STATUSES = [
  "de",
  "events",
  "id",
  "limiter",
  "marker",
  "meta",
  "metrics:completed",
  "pc",
  "repeat",
  "stalled",
  "stalled-check",
];
const NO_JOBS = [...NO_STATUSES, "active", "completed", "delayed", "failed", "paused", "prioritized", "wait"];
const NOTHING = "no-such-thing";

/**
 * Bull Board's own API, whose routes it says itself. Its commands are meant to change something, so what is sent to them
 * asks for what is not there, or comes from where it must not.
 */
export function boardAttacks(): Attack[] {
  return appRoutes.api.flatMap(({ method: methods, route: routes, spec }) =>
    [methods]
      .flat()
      .flatMap((method) =>
        [routes].flat().flatMap((route) => commandAttacks(method.toUpperCase(), route, spec.body)),
      ),
  );
}

function commandAttacks(method: string, route: string, body: string | undefined): Attack[] {
  const attack = (kind: string, request: fc.Arbitrary<HttpRequest>): Attack => ({
    kind,
    target: `${method} /queues${route}`,
    request,
  });
  const at = (queueName: string, other: string) =>
    logged(method, `/queues${fill(route, { queueName }, other)}`);
  const queue = fc.constantFrom(...lifecycle.steps.map((step) => step.name));
  const real = queue.map((name) => at(name, NOTHING));
  const noQueue = nastySegment.map((name) => at(name, NOTHING));
  // Cleaning what has a real status is no attack.
  const others = route.includes(":queueStatus") ? NO_STATUSES : NO_JOBS;
  const noJob = fc
    .tuple(queue, fc.oneof(nastySegment, fc.constantFrom(...others)))
    .map(([name, other]) => at(name, other));
  const hasMore = /:(jobId|schedulerId|queueStatus)/.test(route);

  const attacks = [
    attack(
      "key",
      fc.tuple(real, noKey).map(([request, headers]) => instead(request)(headers)),
    ),
  ];
  if (route.includes(":queueName")) attacks.push(attack("path", noQueue));
  if (hasMore) attacks.push(attack("path", noJob));
  if (method === "GET") {
    const query = nastyQuery(["activeQueue", "page", "jobsPerPage", "status", "queueName", "root", "depth"]);
    return [
      ...attacks,
      attack("query", fc.tuple(real, query).map(withQuery)),
      attack("headers", fc.tuple(real, nastyHeaders).map(withHeaders)),
    ];
  }
  attacks.push(attack("another site", fc.tuple(real, elsewhere).map(withHeaders).map(refused)));
  if (body === undefined) return attacks;
  const unread = noJson.filter((text) => text !== "" && text !== "\ufeff1");
  attacks.push(
    attack(
      "not JSON",
      fc.tuple(real, unread).map(([request, text]) => refused(withJson(request, text))),
    ),
    attack(
      "shape",
      fc.tuple(hasMore ? noJob : noQueue, boardBodies).map(([request, json]) => withJson(request, json)),
    ),
  );
  if (body === "AddJobBody") {
    attacks.push(
      attack(
        "shape",
        fc.tuple(real, badJobs).map(([request, json]) => refused(withJson(request, json))),
      ),
    );
  }
  return attacks;
}

/** What browsers say of a request that another site's page makes. */
const elsewhere: fc.Arbitrary<Record<string, string>> = fc.oneof(
  fc.constantFrom("cross-site", "same-site", "", "x").map((site) => ({ "sec-fetch-site": site })),
  fc.constantFrom("https://evil.example", "null", "http://127.0.0.1:1", "x").map((origin) => ({ origin })),
);

const nastyForm = fc
  .array(fc.tuple(fc.oneof(nastyName, fc.constantFrom(...FORM_NAMES)), nastySegment), { maxLength: 5 })
  .map((fields) =>
    fields.map(([name, value]) => `${encodeURIComponent(name.toWellFormed())}=${value}`).join("&"),
  );

const boardBodies = fc.oneof(
  nastyJson,
  fc
    .tuple(fc.oneof(nastyName, fc.constantFrom("jobData", "runAt", "priority", "name", "options")), nastyJson)
    .map(([name, json]) => `{${JSON.stringify(name)}:${json}}`),
);

/** Jobs that BullMQ does not take. */
const badJobs = fc.constantFrom(
  '{"name":5}',
  '{"options":7}',
  '{"options":{"jobId":"123"}}',
  '{"options":{"jobId":"0"}}',
  '{"options":{"jobId":"a:b"}}',
  '{"options":{"priority":99999999}}',
  '{"options":{"priority":1.5}}',
  '{"options":{"attempts":1e400}}',
  '{"options":{"delay":1e400}}',
  '{"options":{"deduplication":{}}}',
  '{"options":{"parent":{"id":"none","queue":"none"}}}',
  '{"options":{"parent":5}}',
  '{"data":{"orderId":"x"},"options":{"sizeLimit":1}}',
);

function fill(route: string, known: Readonly<Record<string, string>>, other: string): string {
  return route.replaceAll(/:(\w+)/g, (_, name: string) => known[name] ?? other);
}
