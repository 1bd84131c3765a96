import { z } from "zod";
import {
  AlreadyUndoneError,
  serviceOfStage,
  type HttpStages,
  type StageAnswer,
  type StageRequest,
} from "../../order/ports.ts";
import type { Stage } from "../../order/stage.ts";
import {
  rejected,
  ServiceClient,
  snoozed,
  snoozeWithin,
  type ServiceAddress,
  type ServiceAnswer,
} from "./service-client.ts";
import { nowMs } from "../../platform/clock.ts";

/** The time after which an accepted request is repeated. Milliseconds. */
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
  rejected,
  snoozed,
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
    ping: (stage, signal) => clientOf(stage).ping(signal),
    async call(request) {
      const { stage, operation, key, secret, signal } = request;
      const signed = { id: key, body: bodyOf(request), secret, signal };
      if (operation === "undo") return (await clientOf(stage).undo(signed, undoAnswer)) ?? { done: {} };
      return readRun(await clientOf(stage).post(signed));
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
      if ("wait" in outcome)
        return { snooze: Math.min(ACCEPTED_MS, snoozeWithin(Date.parse(outcome.wait.until) - nowMs())) };
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
