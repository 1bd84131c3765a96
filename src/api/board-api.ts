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
import type { Logger } from "../platform/log.ts";
import { describeError } from "../platform/describe-error.ts";

/** Jobs that a page of the board may show: it holds all of them in memory, for every state. */
const LARGEST_PAGE = 1_000;
/** Where a page may begin: Redis counts in integers. */
const LAST_PAGE = 1_000_000_000;

/** What BullMQ keeps under a queue's name beside its jobs. What belongs to a job is joined to its id by a colon. */
const KEYS = new Set(Object.keys(new QueueKeys().getKeys("")));
const JOB_STATES: ReadonlySet<unknown> = new Set([...Object.values(STATUSES), "wait"]);

/** What the board works with, where there are queues. */
export interface BoardServices extends Pick<Services, "database" | "operations" | "failureGroups" | "log"> {
  readonly queues: Queues;
}

/** Why the board refuses, in the words that its page has a text for. */
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
 * The API of Bull Board's page. Bull Board hands on to Redis whatever stands in a request, and answers 500 with the text
 * of what Redis or BullMQ think of it; here such requests are refused.
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
  const readJson = json({ reviver: finite });
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
          const { queueName = "all queues", jobId } = params;
          const what = route.spec?.summary ?? request.path;
          const details = { what, ...(jobId !== undefined && { job: jobId }) };
          await recordAction(database, { actor, action: "board", target: queueName, details });
        }
        response.status(answer.status ?? 200).json(answer.body);
      });
    }
  }
  router.use(answerErrors(log));
  return router;
}

/** JSON has numbers that are infinite here, and that break Redis scripts halfway. */
function finite(_key: string, value: unknown): unknown {
  if (typeof value === "number" && !Number.isFinite(value)) throw new Error("a number is too large");
  return value;
}

/** @throws {Refusal} for what Bull Board does not look at itself. */
function refuseNonsense({ params, query, body }: Request): void {
  if (params["jobId"] !== undefined && isNoJob(params["jobId"]))
    throw new Refusal(404, "ERRORS.JOB_NOT_FOUND");
  if (params["queueStatus"] !== undefined && !JOB_STATES.has(params["queueStatus"]))
    throw new Refusal(400, "ERRORS.INVALID_QUERY_PARAM");
  const { page = 1, jobsPerPage = 1 } = query;
  if (!(Number(page) <= LAST_PAGE && Number(jobsPerPage) <= LARGEST_PAGE))
    throw new Refusal(400, "ERRORS.INVALID_QUERY_PARAM");
  // Such a job would stand in the place of a part of the queue.
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

/** Errors in the form that the board's page shows to its user. */
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
  // The page has no words for MySQL.
  if (isRedisUnavailable(error) || isDatabaseUnavailable(error))
    return { status: 503, key: "ERRORS.REDIS_UNAVAILABLE" };
  // Bull Board decodes parameters a second time, and reads its own messages, which quote them, back as JSON.
  if (error instanceof URIError || (error instanceof SyntaxError && !("status" in error)))
    return { status: 400, key: "ERRORS.INVALID_QUERY_PARAM" };
  if (error instanceof Error && "status" in error && typeof error.status === "number" && error.status < 500)
    return { status: error.status, key: "ERRORS.INVALID_REQUEST_BODY" };
  // So does BullMQ say what it does not take, and that a job is not in the right state; a fault has a kind of its own.
  if (error instanceof Error && error.name === "Error")
    return { status: 400, key: "ERRORS.INVALID_REQUEST_BODY", message: error.message };
  return { status: 500, key: "ERRORS.INTERNAL_SERVER_ERROR" };
}
