import { actorOf } from "./auth.ts";
import { REPEATABLE } from "./idempotency.ts";
import { route } from "./route.ts";
import { resumed, resumeRequest } from "./schemas.ts";

/** Answer after this long, once at least one order is resumed. Milliseconds. */
const ANSWER_WITHIN_MS = 2_000;

/** `/orders/resume`: resumes failed orders. */
export const resumeRoute = route({
  method: "POST",
  path: "/orders/resume",
  scope: "key",
  tag: "Orders",
  summary: "Resume failed orders",
  description:
    "Resumes all failed orders, or those that match a stage, a reason or a time. They get a full set of attempts, " +
    `and are queued at once. ${REPEATABLE}: a repeated request also resumes orders that have failed again since the ` +
    "first one, unless `before` excludes them.",
  request: { body: resumeRequest },
  answers: { 202: { description: "Number of orders resumed", schema: resumed } },
  handler: async ({ body: { stage, reason, before }, response }, { failureGroups }) => {
    const group = { stage, reason, before: before === undefined ? undefined : new Date(before) };
    response.status(202).json(await failureGroups.resume(group, actorOf(response), ANSWER_WITHIN_MS));
  },
});
