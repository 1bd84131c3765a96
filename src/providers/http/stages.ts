import { LIMITS } from "../../order/limits.ts";
import type { WaitSoFar } from "../../order/order.ts";
import {
  AlreadyUndoneError,
  serviceOfStage,
  type HttpStages,
  type StageAnswer,
  type StageRequest,
} from "../../order/ports.ts";
import type { Stage } from "../../order/stage.ts";
import { nowMs } from "../../platform/clock.ts";
import { offTheClock } from "../../platform/time-limit.ts";
import { runAnswer, undoAnswer, type RunAnswer } from "./answers.ts";
import type { Callbacks } from "./callbacks.ts";
import { safeLine, ServiceClient, type ServiceAddress, type ServiceAnswer } from "./service-client.ts";

/** How long an accepted request waits for its callback, and the longest that a service may wait. Milliseconds. */
const ACCEPTED_MS = 24 * 60 * 60 * 1_000;
const LONGEST_WAIT_MS = 10 * 365 * ACCEPTED_MS;

/** Results that come later, by callback. */
export type LaterResults = Pick<Callbacks, "addressFor" | "take">;

const NO_CALLBACKS: LaterResults = { addressFor: async () => null, take: async () => undefined };

/**
 * The HTTP stages among the pipeline's.
 *
 * @param addressOf the address of a stage's service
 * @param callbacks without them, services can't answer later
 */
export function httpStages(
  stages: readonly Stage[],
  addressOf: (stage: Stage & { readonly http: NonNullable<Stage["http"]> }) => ServiceAddress,
  callbacks: LaterResults = NO_CALLBACKS,
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
      const { orderId, stage, operation, key, waited, secret, signal } = request;
      const client = clientOf(stage);
      if (operation === "undo") {
        const body = bodyOf(request, null);
        return (await client.undo({ id: key, body, secret, signal }, undoAnswer)) ?? { done: {} };
      }
      const result = () => offTheClock(signal, () => callbacks.take(orderId, stage));
      const early = (waited !== null || request.attempt > 1) && (await result());
      if (early) return outcomeOf(early, secret);
      const callback = await offTheClock(signal, () => callbacks.addressFor(orderId, stage));
      const asked = client.post({ id: key, body: bodyOf(request, callback), secret, signal });
      const [answered] = await Promise.allSettled([asked]);
      if (answered.status === "fulfilled" && answered.value.status === 410)
        throw new AlreadyUndoneError(answered.value.unexpected().message);
      // The callback may overtake the answer, or come although the answer is lost. The first result counts.
      const late = await result();
      if (late) return outcomeOf(late, secret);
      const answer = await asked;
      switch (answer.status) {
        case 200:
          return outcomeOf(answer.read(runAnswer), secret);
        case 202:
          return accepted(request, answer);
        default:
          throw answer.unexpected();
      }
    },
  };
}

function bodyOf(
  { stage, operation, attempt, deadline, waited, order, records }: StageRequest,
  callback: string | null,
): object {
  return { operation, stage, attempt, deadline, callback, waited: waited && wireOf(waited), order, records };
}

function wireOf({ for: what, since, until, isOver }: WaitSoFar): object {
  return { for: what, since, until, over: isOver };
}

/** Makes a service's text safe for the order's record. */
function outcomeOf(answer: RunAnswer, secret: string | null): StageAnswer {
  const safe = (text: string) => safeLine(text, { most: LIMITS.reason, secret });
  if ("reject" in answer) return { reject: safe(answer.reject) };
  if (!("wait" in answer)) return answer;
  const { for: what, until } = answer.wait;
  return { wait: { for: safe(what), until: soonest(new Date(until), inMs(LONGEST_WAIT_MS)) } };
}

/** The service says that the result comes by callback. It is asked again at the end, and every few minutes. */
function accepted({ deadline }: StageRequest, { retryAfterMs = ACCEPTED_MS }: ServiceAnswer): StageAnswer {
  return { wait: { for: "the service's result", until: soonest(deadline, inMs(retryAfterMs)) } };
}

function inMs(milliseconds: number): Date {
  return new Date(nowMs() + milliseconds);
}

function soonest(one: Date | null, other: Date): Date {
  return one !== null && one < other ? one : other;
}
