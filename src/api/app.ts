import type { RequestListener } from "node:http";
import express, { type Express, type RequestHandler } from "express";
import type { Redis } from "ioredis";
import { EventLog } from "../../db/event-log.ts";
import type { Queues } from "../../queues/queues.ts";
import { consoleRoutes } from "./console/console.ts";
import type { ConsoleOptions } from "./console/context.ts";
import { ROOT as CONSOLE } from "./console/layout.ts";
import { Health } from "./readiness.ts";
import type { Logger } from "../platform/log.ts";
import type { Metrics } from "../platform/metrics.ts";
import { lifecycle } from "../order/lifecycle.ts";
import { WebhookEndpoints } from "../events/webhooks/endpoints.ts";
import { Networks } from "../events/webhooks/networks.ts";
import { Keys, sameSiteOnly } from "./auth.ts";
import { boardRoutes } from "./board.ts";
import { docsRoutes } from "./docs.ts";
import { eventRoutes } from "./events.ts";
import { healthRoutes } from "./health.ts";
import type { Hub } from "../events/live/hub.ts";
import { LIVE_PATHS, liveRoutes } from "./live/routes.ts";
import { metricsRoutes } from "./metrics.ts";
import { orderRoutes, type OrderRoutes } from "./orders.ts";
import { answerErrors, notFound, Problem } from "./problem.ts";
import { resumeRoutes } from "./resume.ts";
import { webhookRoutes } from "./webhooks.ts";
import { stockRoutes } from "./stock.ts";
import { readJson } from "./validate.ts";

export interface AppOptions extends OrderRoutes {
  /** Both undefined where orders are processed without queues. */
  readonly redis?: Redis | undefined;
  readonly queues?: Queues | undefined;
  /** What gives orders the jobs that they lack. */
  readonly requeue: ConsoleOptions["requeue"];
  /** Where live updates come from. */
  readonly live: Hub;
  /** Beyond the public Internet, what webhooks may be sent to. */
  readonly webhookNetworks?: Networks;
  readonly apiKeys: readonly string[];
  readonly version: string;
  readonly metrics: Pick<Metrics, "text" | "contentType">;
  readonly log: Logger;
}

/** Where Bull Board lives. */
const BOARD = "/queues";
const PAGES = [CONSOLE, "/docs", "/openapi.json", "/metrics"];

/** Beneath `/orders`. */
const ORDER_STREAM = /^\/[^/]+\/stream\/?$/;

/** The HTTP side of the API process: everything but health asks for a key, pages by HTTP Basic. It does not listen. */
export function createApp(options: AppOptions): Express {
  const { database, redis, queues, requeue, cancel, live, apiKeys, version, metrics, log } = options;
  const webhooks = new WebhookEndpoints(database, options.webhookNetworks ?? new Networks());
  const app = express();
  const keys = new Keys(apiKeys);
  app.disable("x-powered-by");
  // Answers change from one call to the next: hashing each for a cache is wasted.
  app.disable("etag");

  const api = [keys.bearer, readJson];
  // Pages listen too, and can send no header of their own.
  const orders: RequestHandler = (request, response, next) =>
    (ORDER_STREAM.test(request.path) ? keys.basic : keys.bearer)(request, response, next);
  // First what is asked most: every route that a request passes by takes time.
  app.use("/orders", orders, readJson);
  app.use(resumeRoutes(database));
  app.use(orderRoutes(options));

  const health = new Health({ database, redis });
  app.use(healthRoutes(health));

  app.use(queues ? [...PAGES, BOARD] : PAGES, keys.basic, sameSiteOnly);
  app.use(docsRoutes(version));
  app.use(
    CONSOLE,
    consoleRoutes({ database, redis, queues, requeue, cancel, health, lifecycle, webhooks, log }),
  );
  app.use(metricsRoutes(metrics));
  if (queues) app.use(BOARD, boardRoutes(BOARD, queues, log));

  app.use(LIVE_PATHS, keys.basic);
  app.use(liveRoutes(database, live));

  app.use(api);
  app.use(eventRoutes(new EventLog(database)));
  app.use(stockRoutes(database));
  app.use(webhookRoutes(database, webhooks));

  app.use(notFound);
  app.use(answerErrors(log));
  return app;
}

/**
 * The app for an HTTP server. Express answers in HTML, without having asked any route, when it cannot parse an address;
 * so what is no address is refused before.
 */
export function listenerOf(app: Express): RequestListener {
  return (request, response) => {
    response.setHeader("X-Content-Type-Options", "nosniff");
    const target = originForm(request.url ?? "");
    if (target === undefined) {
      new Problem(400, "malformed-request", { detail: "the address cannot be read" }).send(response);
      return;
    }
    request.url = target;
    app(request, response);
  };
}

/** The path and query of a request's target. Clients of a proxy send the whole address (RFC 9112, section 3.2.2). */
function originForm(target: string): string | undefined {
  // Fragments stay with the client.
  if (target.includes("#")) return undefined;
  if (target.startsWith("/") || target === "*") return target;
  if (!/^https?:/i.test(target) || !URL.canParse(target)) return undefined;
  const { pathname, search } = new URL(target);
  return pathname + search;
}
