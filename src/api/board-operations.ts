import { validate as isUuid } from "uuid";
import { z } from "zod";
import type { Queues } from "../../queues/queues.ts";
import type { FailureGroups } from "../engine/failure-groups.ts";
import type { Operations } from "../engine/operations.ts";

/** A validated request from the board. */
interface Click {
  readonly params: Readonly<Record<string, string>>;
  readonly body: unknown;
  readonly actor: string;
  readonly queues: Queues;
  readonly operations: Operations;
  readonly failureGroups: FailureGroups;
}

interface Done {
  readonly status: number;
  readonly body: object;
}

/** How long retrying all failed jobs of a queue may keep the page waiting. Milliseconds. */
const RETRY_ALL_WITHIN_MS = 10_000;
const OK: Done = { status: 200, body: {} };
const NO_CONTENT: Done = { status: 204, body: {} };

const most = 100_000;
const concurrencyBody = z.object({ concurrency: z.int().min(1).max(most) });
const rateLimitBody = z.object({
  max: z.int().min(1).max(most).nullish(),
  duration: z.int().min(1).max(86_400_000).optional(),
});

/**
 * Handles what the API and the console can do too (retries, pauses, limits) through the same operations, with the same
 * trail.
 *
 * @param name method and path in the board's API.
 * @returns undefined for what only the board can do, or must refuse.
 */
export async function operate(name: string, click: Click): Promise<Done | undefined> {
  const { params, body, actor, queues, operations, failureGroups } = click;
  const all = queues.all.map((queue) => queue.name);
  const step = params["queueName"] ?? "";
  if (params["queueName"] !== undefined && !all.includes(step)) return undefined;
  switch (name) {
    case "put /api/queues/pause":
      for (const each of all) await operations.pause(each, actor);
      return OK;
    case "put /api/queues/resume":
      for (const each of all) await operations.unpause(each, actor);
      return OK;
    case "put /api/queues/:queueName/pause":
      await operations.pause(step, actor);
      return OK;
    case "put /api/queues/:queueName/resume":
      await operations.unpause(step, actor);
      return OK;
    case "put /api/queues/:queueName/concurrency": {
      const { success, data } = concurrencyBody.safeParse(body);
      if (!success) return undefined;
      await operations.limitConcurrency(step, data.concurrency, actor);
      return OK;
    }
    case "put /api/queues/:queueName/rate-limit": {
      const { success, data } = rateLimitBody.safeParse(body);
      if (!success || (data.max && !data.duration)) return undefined;
      const { max, duration: durationMs } = data;
      await operations.limitRate(step, max && durationMs ? { max, durationMs } : null, actor);
      return OK;
    }
    case "put /api/queues/:queueName/retry/:queueStatus": {
      if (params["queueStatus"] !== "failed") return undefined;
      const { resumed, more } = await failureGroups.resume({ stage: step }, actor, RETRY_ALL_WITHIN_MS);
      return { status: 200, body: { retried: resumed, skipped: more ? 1 : 0 } };
    }
    case "put /api/queues/:queueName/:jobId/retry":
      return (await retry(click, "failed")) ? NO_CONTENT : undefined;
    case "put /api/queues/:queueName/:jobId/promote":
      return (await retry(click, "delayed")) ? NO_CONTENT : undefined;
    default:
      return undefined;
  }
}

/** Retries the order of a job in this state. Jobs added by hand may have no order. */
async function retry({ params, actor, queues, operations }: Click, state: string): Promise<boolean> {
  const { queueName, jobId = "" } = params;
  const orderId = jobId.slice(0, 36);
  const queue = queues.all.find(({ name }) => name === queueName);
  if (queue === undefined || !isUuid(orderId) || (await queue.getJobState(jobId)) !== state) return false;
  return (await operations.retry(orderId, actor)) === true;
}
