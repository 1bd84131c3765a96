import { z } from "zod";
import { LIMITS } from "../../order/limits.ts";
import {
  AlreadyUndoneError,
  serviceOfStage,
  type HttpStages,
  type StageAnswer,
  type StageRequest,
} from "../../order/ports.ts";
import type { Stage } from "../../order/stage.ts";
import { ServiceClient, type ServiceAddress, type ServiceAnswer } from "./service-client.ts";

/** Bounds of a `snooze`, and of the time after which an accepted request is repeated. Milliseconds. */
const SOONEST_MS = 100;
const LATEST_MS = 24 * 60 * 60 * 1_000;
const ACCEPTED_MS = 60_000;

/** Most fields of a record, and characters of a name and a value in it. */
const RECORD_FIELDS = 50;
const FIELD_NAME = 64;
const FIELD_VALUE = 500;

/** MySQL stores no halves of surrogate pairs. */
const wellFormed = (text: string) => text.toWellFormed();
const record = z
  .record(
    z.string().min(1).max(FIELD_NAME).transform(wellFormed),
    z.union([
      z.string().max(FIELD_VALUE).transform(wellFormed), //
      z.number(),
      z.boolean(),
      z.null(),
    ]),
  )
  .refine((given) => Object.keys(given).length <= RECORD_FIELDS);

/** The body of a 200 to `run`. */
export const runAnswer = z.union([
  z.strictObject({ done: record }),
  z.strictObject({ reject: z.string().min(1) }),
  z.strictObject({ snooze: z.number().nonnegative() }),
  z.strictObject({
    wait: z.strictObject({
      for: z.string().min(1).max(FIELD_VALUE),
      until: z.iso.datetime({ offset: true }),
    }),
  }),
]);
/** The body of a 200 to `undo`. */
export const undoAnswer = z.strictObject({ done: record });

/** The HTTP stages among the pipeline's. @param addressOf the address of a stage's service */
export function httpStages(
  stages: readonly Stage[],
  addressOf: (stage: Stage & { readonly http: NonNullable<Stage["http"]> }) => ServiceAddress,
): HttpStages {
  const clients = new Map(
    stages.flatMap((stage) => {
      const { http } = stage;
      return http
        ? [[stage.name, new ServiceClient(serviceOfStage(stage.name), addressOf({ ...stage, http }))]]
        : [];
    }),
  );
  const clientOf = (stage: string): ServiceClient => {
    const client = clients.get(stage);
    if (client === undefined) throw new Error(`the pipeline has no HTTP stage ${stage}`);
    return client;
  };
  return {
    ping: (stage, signal) => clientOf(stage).knock(signal),
    async call(request) {
      const { stage, operation, key, secret, signal } = request;
      const answer = await clientOf(stage).post({ id: key, body: bodyOf(request), secret, signal });
      return operation === "run" ? readRun(answer) : readUndo(answer);
    },
  };
}

function bodyOf({ stage, operation, attempt, deadline, order, records }: StageRequest): object {
  return { operation, stage, attempt, deadline, order, records };
}

function readRun(answer: ServiceAnswer): StageAnswer {
  switch (answer.status) {
    case 200: {
      const outcome = answer.read(runAnswer);
      if ("reject" in outcome) return { reject: answer.shorten(outcome.reject, LIMITS.reason) };
      if ("snooze" in outcome) return { snooze: within(outcome.snooze) };
      if ("wait" in outcome)
        return { snooze: Math.min(ACCEPTED_MS, within(Date.parse(outcome.wait.until) - Date.now())) };
      return outcome;
    }
    case 202:
      return { snooze: ACCEPTED_MS };
    case 410:
      throw new AlreadyUndoneError(answer.unexpected().message);
    default:
      throw answer.unexpected();
  }
}

function readUndo(answer: ServiceAnswer): StageAnswer {
  const { status } = answer;
  if (status === 200 && !answer.isEmpty) return answer.read(undoAnswer);
  if (status === 204 || status === 410 || status === 200) return { done: {} };
  throw answer.unexpected();
}

function within(ms: number): number {
  return Math.min(Math.max(ms, SOONEST_MS), LATEST_MS);
}
