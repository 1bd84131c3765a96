import type { ServerResponse } from "node:http";
import type { ErrorRequestHandler, Request, RequestHandler } from "express";
import { isDatabaseUnavailable, isUnknownOutcome } from "../platform/storage-error.ts";
import { AdjustmentKeyReusedError, TooMuchStockError } from "../../db/stock-adjustments.ts";
import { RefundKeyReusedError } from "../../db/refunds.ts";
import { StockChangedError, StockReservedError } from "../../db/stock.ts";
import { WebhookError } from "../events/webhooks/endpoints.ts";
import { NotAmendableError } from "../order/amendment.ts";
import { OverloadedError } from "../platform/group-commit.ts";
import type { Logger } from "../platform/log.ts";
import { withoutSecrets } from "../platform/route.ts";
import { describeError } from "../platform/describe-error.ts";
import { etagOf } from "./etag.ts";
import type { ProblemBody } from "./schemas.ts";
import { sendJson } from "./send-json.ts";

/** All failures, with their titles. A problem's type is `urn:conveyor:problem:<key>`. */
const TITLES = {
  "malformed-request": "The request cannot be read",
  "invalid-input": "The input is not valid",
  "unsupported-media-type": "The body must be JSON",
  "body-too-large": "The body is too large",
  "body-too-slow": "The body took too long",
  unauthorized: "A valid key is needed",
  forbidden: "The request comes from another site",
  misdirected: "The pages are not served under this name",
  "not-found": "There is nothing here",
  "method-not-allowed": "The method is not allowed",
  "idempotency-key-reused": "The idempotency key belongs to another request",
  "too-late-to-change": "The order can no longer be changed",
  "order-ended": "The order has ended",
  "too-late-to-cancel": "The order can no longer be cancelled",
  "operation-answered": "The operation has another result",
  "operation-over": "The order no longer waits for the operation",
  "stock-reserved": "More stock is reserved than that",
  "precondition-failed": "It is not what it was",
  "not-refundable": "So much cannot be refunded",
  "not-shippable": "That cannot be done with the shipment",
  "invalid-webhook": "The webhook cannot be accepted",
  "endpoint-disabled": "The endpoint is disabled",
  "too-many-endpoints": "The limit of endpoints is reached",
  "secret-not-told": "The secret cannot be shown again",
  "not-processed": "The order could not be processed",
  unavailable: "The service is temporarily unavailable",
  internal: "Something went wrong",
} as const;

export type ProblemType = keyof typeof TITLES;

interface ProblemOptions {
  readonly detail?: string;
  readonly errors?: ProblemBody["errors"];
  readonly orderId?: string;
  readonly orderStatus?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

/** A failure as the client sees it: RFC 9457. */
export class Problem extends Error {
  override name = "Problem";
  readonly status: number;
  readonly type: ProblemType;
  readonly options: ProblemOptions;

  constructor(status: number, type: ProblemType, options: ProblemOptions = {}) {
    super(options.detail ?? TITLES[type]);
    this.status = status;
    this.type = type;
    this.options = options;
  }

  send(response: ServerResponse): void {
    const { detail, errors, orderId, orderStatus, headers = {} } = this.options;
    const body: ProblemBody = {
      type: `urn:conveyor:problem:${this.type}`,
      title: TITLES[this.type],
      status: this.status,
      ...(detail === undefined ? {} : { detail }),
      ...(errors === undefined ? {} : { errors }),
      ...(orderId === undefined ? {} : { orderId }),
      ...(orderStatus === undefined ? {} : { orderStatus }),
    };
    sendJson(response, this.status, body, {
      ...headers,
      "Content-Type": "application/problem+json; charset=utf-8",
    });
  }
}

/** `Retry-After` during an outage, in seconds. */
const RETRY_AFTER_S = 1;

/** Answers an unsupported method on an existing path. HEAD is allowed wherever GET is. */
export function methodNotAllowed(...allowed: string[]): RequestHandler {
  const allow = allowed.flatMap((method) => (method === "GET" ? ["GET", "HEAD"] : [method])).join(", ");
  return ({ method }) => {
    const detail = `${method} is not allowed here; ${allow} would be`;
    throw new Problem(405, "method-not-allowed", { detail, headers: { Allow: allow } });
  };
}

/** Answers a path that does not exist. */
export const notFound: RequestHandler = ({ baseUrl, path }) => {
  throw new Problem(404, "not-found", { detail: `there is no ${baseUrl}${path}` });
};

/** Turns errors into answers. Unexpected ones are logged, and not shown to clients. */
export function answerErrors(log: Logger): ErrorRequestHandler {
  return (error: unknown, request, response, next) => {
    // Its body was given up, and it is answered.
    if (response.writableEnded && !request.complete) return;
    if (response.headersSent) {
      next(error);
      return;
    }
    const problem = asProblem(error, request);
    if (problem.status >= 500) {
      log.error(
        {
          method: request.method,
          path: withoutSecrets(request.path),
          status: problem.status,
          error: describeError(error),
        },
        "request failed",
      );
    }
    problem.send(response);
  };
}

const NOTHING_DONE = "nothing was done: repeat the request";
const UNKNOWN_OUTCOME =
  "it is not known whether the request took effect: repeat it with the same Idempotency-Key; if it had none, check first";

/** For a write: whether anything may have been done. */
function outcomeOf(error: unknown, { method }: Pick<Request, "method">): { readonly detail?: string } {
  if (method === "GET" || method === "HEAD") return {};
  return { detail: isUnknownOutcome(error) ? UNKNOWN_OUTCOME : NOTHING_DONE };
}

/** The failure that an error means to its client; undefined for an outage, a request of Express's, or a bug. */
export function problemOf(error: unknown): Problem | undefined {
  if (error instanceof Problem) return error;
  if (error instanceof StockReservedError)
    return new Problem(409, "stock-reserved", { detail: error.message });
  if (error instanceof StockChangedError)
    return new Problem(412, "precondition-failed", {
      detail: error.message,
      ...(error.level && { headers: { ETag: etagOf(error.level) } }),
    });
  if (error instanceof TooMuchStockError)
    return new Problem(422, "invalid-input", { errors: [{ path: "delta", message: error.message }] });
  if (error instanceof AdjustmentKeyReusedError || error instanceof RefundKeyReusedError)
    return new Problem(422, "idempotency-key-reused", { detail: error.message });
  if (error instanceof NotAmendableError) return ofAmendments(error);
  return error instanceof WebhookError ? ofWebhooks(error) : undefined;
}

function ofAmendments({ kind, message: detail }: NotAmendableError): Problem {
  switch (kind) {
    case "ended":
      return new Problem(409, "order-ended", { detail });
    case "booked":
      return new Problem(409, "too-late-to-change", { detail });
    case "no such hold":
      return new Problem(404, "not-found", { detail });
    case "too much metadata":
      return new Problem(422, "invalid-input", { errors: [{ path: "metadata", message: detail }] });
  }
}

function ofWebhooks({ kind, message: detail }: WebhookError): Problem {
  switch (kind) {
    case "bad address":
      return new Problem(422, "invalid-input", { errors: [{ path: "url", message: detail }] });
    case "too many":
      return new Problem(409, "too-many-endpoints", { detail });
    case "disabled":
      return new Problem(409, "endpoint-disabled", { detail });
    case "another request":
      return new Problem(422, "idempotency-key-reused", { detail });
    case "not told again":
      return new Problem(409, "secret-not-told", { detail });
    case "no such endpoint":
    case "no such delivery":
      return new Problem(404, "not-found", { detail });
  }
}

function asProblem(error: unknown, request: Pick<Request, "method">): Problem {
  const problem = problemOf(error);
  if (problem) return problem;
  if (error instanceof OverloadedError || isDatabaseUnavailable(error)) {
    return new Problem(503, "unavailable", {
      ...outcomeOf(error, request),
      headers: { "Retry-After": String(RETRY_AFTER_S) },
    });
  }
  return ofExpress(error) ?? new Problem(500, "internal");
}

/** Express and its body parser put the status on the error. */
function ofExpress(error: unknown): Problem | undefined {
  if (!(error instanceof Error) || !("status" in error) || typeof error.status !== "number") return undefined;
  switch (error.status) {
    case 413:
      return new Problem(
        413,
        "body-too-large",
        "limit" in error ? { detail: `at most ${String(error.limit)} bytes` } : {},
      );
    case 415:
      return new Problem(415, "unsupported-media-type");
    default:
      // Withhold the message: a JSON error quotes the body, which may hold a payment token.
      return error.status >= 400 && error.status < 500 ? new Problem(400, "malformed-request") : undefined;
  }
}
