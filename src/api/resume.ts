import { Router } from "express";
import type { Database } from "../../db/database.ts";
import { afterwards } from "../platform/storage-error.ts";
import { resumeFailed, type FailureFilter, type FailurePlace } from "../../db/failures.ts";
import { actorOf } from "./auth.ts";
import { methodNotAllowed } from "./problem.ts";
import { resumeRequest } from "./schemas.ts";
import { parseBody } from "./validate.ts";

/** Orders of one transaction: it must not hold their locks for long. */
const PAGE = 500;
/** The client is not kept waiting longer than this while there is something to tell. */
const ANSWER_WITHIN_MS = 2_000;

/**
 * `/orders/resume`: puts failed orders back to work, with all their attempts. Here they only stop being failed; the
 * sweeper queues them page by page, at a rate that the workers can take. Who asks twice finds none the second time.
 */
export function resumeRoutes(database: Database, answerWithinMs = ANSWER_WITHIN_MS): Router {
  const router = Router();
  router
    .route("/orders/resume")
    .post(async (request, response) => {
      const { stage, reason, before } = parseBody(resumeRequest, request);
      const filter = { stage, reason, before: before === undefined ? undefined : new Date(before) };
      response.status(202).json(await resume(database, filter, actorOf(response), answerWithinMs));
    })
    .all(methodNotAllowed("POST"));
  return router;
}

/** Page by page; `more` when it ended for lack of time. */
async function resume(
  database: Database,
  filter: FailureFilter,
  actor: string | null,
  answerWithinMs: number,
): Promise<{ readonly resumed: number; readonly more?: true }> {
  const startedAt = performance.now();
  let resumed = 0;
  let after: FailurePlace | undefined;
  const next = () => resumeFailed(database, filter, PAGE, after, actor);
  do {
    const page = resumed === 0 ? await next() : await afterwards(next);
    resumed += page.resumed;
    after = page.next;
  } while (after && (resumed === 0 || performance.now() - startedAt < answerWithinMs));
  return { resumed, ...(after && { more: true }) };
}
