import { STATUSES } from "@bull-board/api/constants/statuses";
import type { AppControllerRoute, BullBoardQueues, UIConfig } from "@bull-board/api/typings/app";
import { QueueKeys } from "bullmq";
import { json, Router, type ErrorRequestHandler, type Request } from "express";
import { recordAction } from "../../db/operator-actions.ts";
import { isRedisUnavailable } from "../../queues/errors.ts";
import type { Queues } from "../../queues/queues.ts";
import { isDatabaseUnavailable } from "../platform/storage-error.ts";
import { actorOf } from "./auth.ts";
import { operate } from "./board-operations.ts";
import type { Services } from "./services.ts";
import { onlyUtf8 } from "./validate.ts";
import type { Logger } from "../platform/log.ts";
import { describeError } from "../platform/describe-error.ts";

/** Jobs per page of the board, which holds them all in memory, for every state. */
const LARGEST_PAGE = 1_000;
/** The last page number: Redis takes only integers. */
const LAST_PAGE = 1_000_000_000;

/** Keys that BullMQ keeps under a queue's name beside jobs. A job's own keys add a colon to its id. */
const KEYS = new Set(Object.keys(new QueueKeys().getKeys("")));
const JOB_STATES: ReadonlySet<unknown> = new Set([...Object.values(STATUSES), "wait"]);

/** The services of the board; it needs queues. */
export interface BoardServices extends Pick<
  Services,
  "database" | "operations" | "failureGroups" | "base" | "log"
> {
  readonly queues: Queues;
}

/** A refused request, with a message key that the board's page knows. */
class Refusal extends Error {
  override name = "Refusal";
  readonly status: number;
  readonly key: string;

  constructor(status: number, key: string) {
    super(key);
    this.status = status;
    this.key = key;
  }
}

/**
 * The API of Bull Board's page. Bull Board passes requests to Redis unchecked, and answers 500 with the text of Redis's
 * or BullMQ's error; here malformed requests are refused.
 */
export function boardApi(options: {
  readonly routes: readonly AppControllerRoute[];
  readonly queues: BullBoardQueues;
  readonly uiConfig: UIConfig;
  readonly services: BoardServices;
}): Router {
  const { routes, queues, uiConfig, services } = options;
  const { database, log } = services;
  const router = Router();
  const readJson = json({ reviver: finite, verify: onlyUtf8 });
  for (const route of routes) {
    for (const method of [route.method].flat()) {
      router[method](route.route, readJson, async (request, response) => {
        refuseNonsense(request);
        const headers = Object.fromEntries(
          Object.entries(request.headers).map(([name, value]) => [name, value?.toString()]),
        );
        const { query, body } = request;
        const params = Object.fromEntries(
          Object.entries(request.params).map(([name, value]) => [name, String(value)]),
        );
        const actor = actorOf(response);
        const done = await operate(`${method} ${String(route.route)}`, { ...services, params, body, actor });
        const answer = done ?? (await route.handler({ queues, uiConfig, query, params, body, headers }));
        if (done === undefined && method !== "get" && (answer.status ?? 200) < 400) {
          const { queueName = "all queues", jobId, queueStatus } = params;
          const what = route.spec?.summary ?? request.path;
          const details = {
            what,
            ...(queueStatus !== undefined && { status: queueStatus }),
            ...(jobId !== undefined && { job: jobId }),
          };
          // First, for when MySQL is away: it is done already.
          log.info({ actor, queue: queueName, ...details }, "changed in Bull Board");
          await recordAction(database, { actor, action: "board", target: queueName, details });
        }
        response.status(answer.status ?? 200).json(answer.body);
      });
    }
  }
  router.use(answerErrors(log));
  return router;
}

/** JSON numbers may overflow to Infinity, which breaks Redis scripts midway. */
function finite(_key: string, value: unknown): unknown {
  if (typeof value === "number" && !Number.isFinite(value)) throw new Error("a number is too large");
  return value;
}

/** @throws {Refusal} for what Bull Board does not validate. */
function refuseNonsense({ params, query, body }: Request): void {
  if (params["jobId"] !== undefined && isNoJob(params["jobId"]))
    throw new Refusal(404, "ERRORS.JOB_NOT_FOUND");
  if (params["queueStatus"] !== undefined && !JOB_STATES.has(params["queueStatus"]))
    throw new Refusal(400, "ERRORS.INVALID_QUERY_PARAM");
  const { page = 1, jobsPerPage = 1 } = query;
  if (!(Number(page) <= LAST_PAGE && Number(jobsPerPage) <= LARGEST_PAGE))
    throw new Refusal(400, "ERRORS.INVALID_QUERY_PARAM");
  // Such a job would overwrite part of the queue.
  const jobId = member(member(body, "options"), "jobId");
  if (jobId !== undefined && isNoJob(jobId)) throw new Refusal(400, "ERRORS.INVALID_REQUEST_BODY");
}

function isNoJob(id: unknown): boolean {
  return typeof id !== "string" || KEYS.has(id) || id.includes(":");
}

function member(value: unknown, name: string): unknown {
  return typeof value === "object" && value !== null && Object.hasOwn(value, name)
    ? Object.getOwnPropertyDescriptor(value, name)?.value
    : undefined;
}

/** Answers errors in the form that the board's page shows. */
function answerErrors(log: Logger): ErrorRequestHandler {
  return (error: unknown, request, response, next) => {
    if (response.headersSent) {
      next(error);
      return;
    }
    const { status, key, message } = answerTo(error);
    if (status >= 500) {
      log.error(
        { method: request.method, path: request.path, status, error: describeError(error) },
        "request failed",
      );
    }
    response.status(status).json({ error: { key }, ...(message !== undefined && { message }) });
  };
}

function answerTo(error: unknown): { status: number; key: string; message?: string } {
  if (error instanceof Refusal) return { status: error.status, key: error.key };
  // The page has no message for MySQL.
  if (isRedisUnavailable(error) || isDatabaseUnavailable(error))
    return { status: 503, key: "ERRORS.REDIS_UNAVAILABLE" };
  // Bull Board decodes parameters twice, and parses its own error messages, which quote them, as JSON.
  if (error instanceof URIError || (error instanceof SyntaxError && !("status" in error)))
    return { status: 400, key: "ERRORS.INVALID_QUERY_PARAM" };
  if (error instanceof Error && "status" in error && typeof error.status === "number" && error.status < 500)
    return { status: error.status, key: "ERRORS.INVALID_REQUEST_BODY" };
  // BullMQ reports bad input and wrong job states as plain errors; bugs have other types.
  if (error instanceof Error && error.name === "Error")
    return { status: 400, key: "ERRORS.INVALID_REQUEST_BODY", message: error.message };
  return { status: 500, key: "ERRORS.INTERNAL_SERVER_ERROR" };
}
