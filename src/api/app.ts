import { IncomingMessage, ServerResponse, type RequestListener } from "node:http";
import express, { type ErrorRequestHandler, type Express, type RequestHandler } from "express";
import type { Database } from "../../db/database.ts";
import { EventLog } from "../../db/event-log.ts";
import { WebhookEndpoints } from "../events/webhooks/endpoints.ts";
import { Networks } from "../events/webhooks/networks.ts";
import { lifecycle } from "../order/lifecycle.ts";
import { Callbacks } from "../providers/http/callbacks.ts";
import { isKnown, Keys } from "./auth.ts";
import { BOARD } from "./board.ts";
import { consoleHeaders, neverStored, showErrors } from "./console/console.ts";
import { ROOT as CONSOLE } from "./console/layout.ts";
import { StatusReader } from "./console/status.ts";
import { openApiDocument } from "./openapi.ts";
import { readHead } from "./head.ts";
import { pageHeaders } from "./pages.ts";
import { answerErrors, notFound, Problem } from "./problem.ts";
import { PublicAddress, setBase } from "./public-address.ts";
import { RouteTables, type Guards } from "./route.ts";
import { API, PAGES } from "./routes.ts";
import { HttpServer, type HttpServerOptions, type MessageClasses } from "./server.ts";
import type { OrderServices, Services } from "./services.ts";

export interface AppOptions
  extends
    OrderServices,
    Pick<
      Services,
      | "database"
      | "redis"
      | "queues"
      | "live"
      | "health"
      | "metrics"
      | "log"
      | "payments"
      | "refunds"
      | "paymentWebhooks"
      | "parcels"
    > {
  /** Private networks that webhooks may be sent to. */
  readonly webhookNetworks?: Networks;
  /** By default the same database. */
  readonly reads?: Database;
  readonly apiKeys: readonly string[];
  /** Where pages are served; by default under this machine's addresses. */
  readonly address?: PublicAddress;
  /** Whose `X-Forwarded-*` count, as Express takes it: hops, or networks; nobody's by default. */
  readonly trustProxy?: number | readonly string[];
  readonly version: string;
}

/**
 * The Express app: the routes (`routes.ts`), and 404 for everything else, shown only to callers with a key. It does not
 * listen.
 */
export function createApp(options: AppOptions): Express {
  const { address = new PublicAddress(), trustProxy } = options;
  const app = express();
  app.disable("x-powered-by");
  // As in front of it: `/CONSOLE` or `/metrics/` must not be a way around a proxy's rule about `/console` or `/metrics`.
  app.enable("case sensitive routing");
  app.enable("strict routing");
  if (trustProxy !== undefined) app.set("trust proxy", trustProxy);
  setBase(app, address.base);
  // Answers change between calls, so hashing them for caches is wasted work.
  app.disable("etag");
  const { bearer, basic } = new Keys(options.apiKeys);
  const guards: Guards = { public: [], key: [bearer], operator: [basic, address.sameSiteOnly] };
  const services = servicesOf(options);
  const tables = new RouteTables(app, { guards, services });
  // The most used come first, since every route a request passes takes time.
  tables.add(API);
  app.use(["/docs", BOARD, CONSOLE], address.servedHere);
  app.use(["/docs", BOARD], pageHeaders);
  app.use(CONSOLE, consoleHeaders, neverStored);
  tables.add(PAGES);
  app.use(CONSOLE, ...guards.operator, notFound, onlyToThose(basic), showErrors(services));
  app.use(...guards.key, notFound, onlyToThose(bearer));
  app.use(answerErrors(services.log));
  return app;
}

/** Guards errors found before routing, such as a path that cannot be decoded. */
function onlyToThose(guard: RequestHandler): ErrorRequestHandler {
  return (error: unknown, request, response, next) => {
    if (error instanceof Problem || isKnown(response) || request.route !== undefined) next(error);
    else guard(request, response, () => next(error));
  };
}

function servicesOf({
  webhookNetworks = new Networks(),
  version,
  address,
  ...options
}: AppOptions): Services {
  const { database, reads = database } = options;
  const given = { ...options, reads, lifecycle };
  return {
    ...given,
    events: new EventLog(database),
    callbacks: new Callbacks({ database, lifecycle, publicUrl: undefined }),
    webhooks: new WebhookEndpoints(database, webhookNetworks),
    status: new StatusReader(given),
    document: openApiDocument(version, address?.base),
    base: address?.base ?? "",
  };
}

interface ServerAddress {
  /** That of the app. */
  readonly address?: PublicAddress;
}

/**
 * The server of the app, which does not listen yet.
 *
 * @param around wraps the listener, to measure or trace requests.
 */
export function serverOf(
  app: Express,
  around: (listener: RequestListener) => RequestListener,
  { address = new PublicAddress(), ...options }: Omit<HttpServerOptions, "classes"> & ServerAddress = {},
): HttpServer {
  return new HttpServer(around(listenerOf(app, address)), { ...options, classes: messageClassesOf(app) });
}

/** The app as a listener. Express answers unparsable URLs in HTML before any route runs, so they are refused here. */
function listenerOf(app: Express, address: PublicAddress): RequestListener {
  return (request, response) => {
    response.setHeader("X-Content-Type-Options", "nosniff");
    const target = readHead(request);
    if (target instanceof Problem) {
      target.send(response);
      return;
    }
    request.url = address.withoutBase(target);
    app(request, response);
  };
}

/**
 * The classes of the app's requests and responses. Express sets the prototype of each, and an object whose prototype has
 * changed is slow for the rest of its life, also in `node:http`: that took a third of the time of `POST /orders`. These are
 * made with Express's prototypes, so that setting them changes nothing.
 */
function messageClassesOf(app: Express): MessageClasses {
  class AppRequest extends IncomingMessage {}
  class AppResponse<Message extends IncomingMessage> extends ServerResponse<Message> {}
  Object.setPrototypeOf(AppRequest.prototype, app.request);
  Object.setPrototypeOf(AppResponse.prototype, app.response);
  Object.assign(app, { request: AppRequest.prototype, response: AppResponse.prototype });
  return { IncomingMessage: AppRequest, ServerResponse: AppResponse };
}
