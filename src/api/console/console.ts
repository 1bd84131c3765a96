import type { ErrorRequestHandler, RequestHandler } from "express";
import helmet from "helmet";
import { isDatabaseUnavailable } from "../../platform/storage-error.ts";
import { isRedisUnavailable } from "../../../queues/errors.ts";
import { Problem, problemOf } from "../problem.ts";
import type { Route } from "../route.ts";
import type { Services } from "../services.ts";
import type { Logger } from "../../platform/log.ts";
import { describeError } from "../../platform/describe-error.ts";
import { assetRoutes } from "./assets.ts";
import { show } from "./context.ts";
import { html } from "./html.ts";
import { ROOT, sectionOf } from "./layout.ts";
import { actionsPage } from "./pages/actions.ts";
import { amendmentForms } from "./pages/amendments.ts";
import { failuresPage } from "./pages/failures.ts";
import { orderListPage } from "./pages/order-list.ts";
import { orderPage } from "./pages/order.ts";
import { overviewPage } from "./pages/overview.ts";
import { refundForms } from "./pages/payments.ts";
import { shipmentPages } from "./pages/shipments.ts";
import { queuesPage } from "./pages/queues.ts";
import { stockPages } from "./pages/stock.ts";
import { webhooksPage } from "./pages/webhooks.ts";

/** The operators' pages, one file each. To add one, add a line here and one in the navigation of `layout.ts`. */
export const consoleRoutes: readonly Route[] = [
  ...overviewPage,
  ...orderListPage,
  ...orderPage,
  ...amendmentForms,
  ...refundForms,
  ...shipmentPages,
  ...failuresPage,
  ...stockPages,
  ...queuesPage,
  ...webhooksPage,
  ...actionsPage,
  ...assetRoutes,
];

/**
 * Lets the browser load assets from this process only: no inline scripts or styles, no frames, no forms to
 * other hosts.
 */
export const consoleHeaders = helmet({
  // Browsers ignore these two without TLS, the second one with an error in the console.
  strictTransportSecurity: false,
  crossOriginOpenerPolicy: false,
  // Form posts must send a Referer, which `no-referrer` would suppress.
  referrerPolicy: { policy: "same-origin" },
  contentSecurityPolicy: {
    useDefaults: false,
    directives: {
      defaultSrc: ["'none'"],
      scriptSrc: ["'self'"],
      styleSrc: ["'self'"],
      imgSrc: ["'self'"],
      connectSrc: ["'self'"],
      formAction: ["'self'"],
      baseUri: ["'none'"],
      frameAncestors: ["'none'"],
    },
  },
});

/** Prevents caching: the pages show live state and customer data. */
export const neverStored: RequestHandler = (request, response, next) => {
  if (!request.path.startsWith("/assets/")) response.set("Cache-Control", "no-store");
  next();
};

/** Renders errors as pages, except for requests without access. Unexpected errors are logged, and not shown. */
export function showErrors(services: Services): ErrorRequestHandler {
  return (error: unknown, request, response, next) => {
    if (response.headersSent || isRefusal(error)) {
      next(error);
      return;
    }
    const { status, title, detail } = tell(error, services.log, `${request.method} ${request.path}`);
    response.status(status);
    show(services, response, {
      title,
      section: sectionOf(request.path),
      body: html`<h1>${title}</h1>
        <p>${detail}</p>
        <p><a href="${ROOT}">Back to the overview</a></p>`,
    });
  };
}

/** Statuses that are answered before anybody is known to ask. */
const REFUSALS = new Set([401, 403, 421]);

function isRefusal(error: unknown): boolean {
  return error instanceof Problem && REFUSALS.has(error.status);
}

function tell(
  error: unknown,
  log: Logger,
  request: string,
): { status: number; title: string; detail: string } {
  const problem = problemOf(error);
  if (problem)
    return {
      status: problem.status,
      title: problem.status === 404 ? "Not found" : "That is not possible",
      detail: [
        problem.message,
        ...(problem.options.errors ?? []).map((fault) => `${fault.path}: ${fault.message}`),
      ].join("; "),
    };
  if (isDatabaseUnavailable(error))
    return {
      status: 503,
      title: error.kind === "contended" ? "MySQL is busy" : error.how,
      detail: error.isUnknown
        ? "The change may have been made: check before you try again."
        : "Nothing was changed. Try again in a moment.",
    };
  if (isRedisUnavailable(error))
    return {
      status: 503,
      title: "Redis does not answer",
      detail: "Nothing in MySQL is lost. Try again in a moment.",
    };
  if (error instanceof Error && "status" in error && typeof error.status === "number" && error.status < 500)
    return { status: error.status, title: "That is not possible", detail: "The request can't be read." };
  log.error({ request, error: describeError(error) }, "request failed");
  return { status: 500, title: "Something went wrong", detail: "See the service's log." };
}
