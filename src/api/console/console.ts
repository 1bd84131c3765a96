import { Router, urlencoded, type ErrorRequestHandler, type RequestHandler } from "express";
import helmet from "helmet";
import { isDatabaseUnavailable } from "../../platform/storage-error.ts";
import { isRedisUnavailable } from "../../../queues/errors.ts";
import { Problem } from "../problem.ts";
import type { Logger } from "../../platform/log.ts";
import { describeError } from "../../platform/describe-error.ts";
import { assetRoutes } from "./assets.ts";
import { show, type ConsoleOptions } from "./context.ts";
import { html } from "./html.ts";
import { ROOT, sectionOf } from "./layout.ts";
import { actionsPage } from "./pages/actions.ts";
import { failuresPage } from "./pages/failures.ts";
import { orderListPage } from "./pages/order-list.ts";
import { orderPage } from "./pages/order.ts";
import { overviewPage } from "./pages/overview.ts";
import { queuesPage } from "./pages/queues.ts";
import { webhooksPage } from "./pages/webhooks.ts";

/** Each page is one file: a further one is a line here, and one in the navigation of `layout.ts`. */
const PAGES = [overviewPage, orderListPage, orderPage, failuresPage, queuesPage, webhooksPage, actionsPage];

/** Bytes of a form. */
const LARGEST_FORM = 16 * 1024;

/**
 * What the browser may do with these pages: load what comes from this process, and nothing else; no inline script or
 * style, no frame, no form to elsewhere.
 */
const headers = helmet({
  // Without TLS, browsers ignore these two; the second one with an error in the console.
  strictTransportSecurity: false,
  crossOriginOpenerPolicy: false,
  // Forms of this site say where they come from, which `no-referrer` would keep to itself.
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

/** The operators' pages. Each is one file in `pages/`; who may see them is decided before. */
export function consoleRoutes(options: ConsoleOptions): Router {
  const router = Router();
  router.use(headers, neverStored);
  router.use("/assets", assetRoutes());
  router.use(urlencoded({ extended: false, limit: LARGEST_FORM }));
  for (const page of PAGES) router.use(page(options));
  router.use(notFound);
  router.use(answerErrors(options));
  return router;
}

/** What is shown is of the moment, and some of it is about customers. */
const neverStored: RequestHandler = (request, response, next) => {
  if (!request.path.startsWith("/assets/")) response.set("Cache-Control", "no-store");
  next();
};

const notFound: RequestHandler = ({ path }) => {
  throw new Problem(404, "not-found", { detail: `there is no ${ROOT}${path}` });
};

/** Errors as pages. What is not known here is logged, and told to nobody. */
function answerErrors(options: ConsoleOptions): ErrorRequestHandler {
  return (error: unknown, request, response, next) => {
    if (response.headersSent) {
      next(error);
      return;
    }
    const { status, title, detail } = tell(error, options.log, `${request.method} ${request.path}`);
    response.status(status);
    show(options, response, {
      title,
      section: sectionOf(request.path),
      body: html`<h1>${title}</h1>
        <p>${detail}</p>
        <p><a href="${ROOT}">Back to the overview</a></p>`,
    });
  };
}

function tell(
  error: unknown,
  log: Logger,
  request: string,
): { status: number; title: string; detail: string } {
  if (error instanceof Problem)
    return {
      status: error.status,
      title: error.status === 404 ? "There is nothing here" : "That is not possible",
      detail: [
        error.message,
        ...(error.options.errors ?? []).map((fault) => `${fault.path}: ${fault.message}`),
      ].join("; "),
    };
  if (isDatabaseUnavailable(error))
    return {
      status: 503,
      title: error.kind === "contended" ? "MySQL is busy" : error.how,
      detail: error.isUnknown
        ? "Something may have been changed all the same: look before you try again."
        : "What you asked for was not done. Try again in a moment.",
    };
  if (isRedisUnavailable(error))
    return {
      status: 503,
      title: "Redis does not answer",
      detail: "What is kept in MySQL is not lost. Try again in a moment.",
    };
  if (error instanceof Error && "status" in error && typeof error.status === "number" && error.status < 500)
    return { status: error.status, title: "That is not possible", detail: "The request cannot be read." };
  log.error({ request, error: describeError(error) }, "request failed");
  return { status: 500, title: "Something went wrong", detail: "The service's log says what." };
}
