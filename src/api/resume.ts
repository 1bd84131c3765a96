import type { Database } from "../../db/database.ts";
import { afterwards } from "../platform/storage-error.ts";
import { resumeFailed, type FailureFilter, type FailurePlace } from "../../db/failures.ts";
import { actorOf } from "./auth.ts";
import { REPEATABLE } from "./idempotency.ts";
import { route } from "./route.ts";
import { resumed as resumedBody, resumeRequest } from "./schemas.ts";

/** Orders of one transaction: it must not hold their locks for long. */
const PAGE = 500;
/** The client is not kept waiting longer than this while there is something to tell. */
const ANSWER_WITHIN_MS = 2_000;

/**
 * `/orders/resume`: puts failed orders back to work, with all their attempts. Here they only stop being failed; the
 * sweeper queues them page by page, at a rate that the workers can take. Who asks twice finds none the second time.
 */
export const resumeRoute = route({
  method: "POST",
  path: "/orders/resume",
  scope: "key",
  tag: "Orders",
  summary: "Resume failed orders",
  description:
    "Resumes all failed orders, or those that match a stage, a reason or a time. They get all their attempts again, " +
    `and are queued page by page. ${REPEATABLE}: a repeated request also resumes orders that have failed again since ` +
    "the first one, unless `before` excludes them.",
  request: { body: resumeRequest },
  answers: { 202: { description: "Number of orders resumed", schema: resumedBody } },
  handler: async ({ body: { stage, reason, before }, response }, { database }) => {
    const filter = { stage, reason, before: before === undefined ? undefined : new Date(before) };
    response.status(202).json(await resume(database, filter, actorOf(response), ANSWER_WITHIN_MS));
  },
});

/** Page by page; `more` when it ended for lack of time. */
export async function resume(
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
