import { z } from "zod";
import { listQueueSettings } from "../../../../db/queue-settings.ts";
import { readControls } from "../../../../queues/controls.ts";
import { isRedisUnavailable } from "../../../../queues/errors.ts";
import { readHeartbeats, type Heartbeat } from "../../../../queues/telemetry/heartbeats.ts";
import { noSuch, route, type Route } from "../../route.ts";
import type { Services } from "../../services.ts";
import type { Operations } from "../../../engine/operations.ts";
import type { QueueSettings } from "../../../engine/ports.ts";
import { lifecycle } from "../../../order/lifecycle.ts";
import { settingsOf, type Step } from "../../../order/stage.ts";
import { actorOf } from "../../auth.ts";
import { FORM, leadTo, PAGE, show } from "../context.ts";
import { counted, duration, number } from "../format.ts";
import { html, type Content, type Html } from "../html.ts";
import { ROOT } from "../layout.ts";

const PATH = `${ROOT}/queues`;
const MOST = 100_000;

/** Each queue's settings over all workers: paused, concurrency, rate limit. */
const queuesView = route({
  ...PAGE,
  path: PATH,
  handler: async ({ response }, services) => {
    const found = await look(services);
    show(services, response, {
      title: "Queues",
      section: "Queues",
      body: html`<h1>Queues</h1>
        ${
          found === undefined
            ? html`<p>The API processes orders itself; there are no queues.</p>`
            : html`<p>
                  These settings apply to all workers together, from the next job on, and survive a loss of
                  Redis.
                </p>
                ${services.lifecycle.steps.map((step) => queue(step, found))}`
        }`,
    });
  },
});

/** An optional limit; empty means no limit. */
const count = z
  .literal("")
  .transform(() => null)
  .or(z.coerce.number({ error: "must be a whole number" }).int().min(1).max(MOST));
const nothing = z.object({});
const concurrencySchema = z.object({ concurrency: count });
const rateLimitSchema = z.object({
  max: count,
  seconds: z.coerce.number({ error: "must be a whole number" }).int().min(1).max(86_400),
});

const params = z.object({ step: z.lazy(() => z.enum(lifecycle.steps.map(({ name }) => name))) });

/** A button that changes a queue. */
function button<Form extends z.ZodType>(
  name: string,
  form: Form,
  change: (operations: Operations, step: string, form: z.output<Form>, actor: string) => Promise<void>,
): Route {
  return route({
    ...FORM,
    path: `${PATH}/:step/${name}`,
    names: "queue",
    request: { params, form },
    handler: async ({ params: { step }, form: sent, response }, { queues, operations }) => {
      if (queues === undefined) throw noSuch("queue", step);
      await change(operations, step, sent, actorOf(response));
      leadTo(response, `${PATH}#${step}`);
    },
  });
}

export const queuesPage: readonly Route[] = [
  queuesView,
  button("pause", nothing, (operations, step, _, actor) => operations.pause(step, actor)),
  button("resume", nothing, (operations, step, _, actor) => operations.unpause(step, actor)),
  button("concurrency", concurrencySchema, (operations, step, { concurrency }, actor) =>
    operations.limitConcurrency(step, concurrency, actor),
  ),
  button("rate-limit", rateLimitSchema, (operations, step, { max, seconds }, actor) =>
    operations.limitRate(step, max === null ? null : { max, durationMs: seconds * 1_000 }, actor),
  ),
];

interface Found {
  /** The settings in MySQL. */
  readonly wanted: ReadonlyMap<string, QueueSettings>;
  /** The settings in Redis; undefined while it is away. */
  readonly actual: ReadonlyMap<string, QueueSettings> | undefined;
  readonly workers: readonly Heartbeat[] | undefined;
}

async function look({ database, queues, redis }: Services): Promise<Found | undefined> {
  if (queues === undefined || redis === undefined) return undefined;
  const wanted = new Map((await listQueueSettings(database)).map((each) => [each.step, each]));
  try {
    const [actual, workers] = await Promise.all([
      Promise.all(queues.all.map(async (each) => [each.name, await readControls(each)] as const)),
      readHeartbeats(redis),
    ]);
    return { wanted, actual: new Map(actual), workers };
  } catch (error) {
    if (!isRedisUnavailable(error)) throw error;
    return { wanted, actual: undefined, workers: undefined };
  }
}

function queue(step: Step, { wanted, actual, workers }: Found): Html {
  const { name } = step;
  // Show the settings in effect, or, while Redis is away, those that will be.
  const now = actual?.get(name) ?? wanted.get(name) ?? { paused: false, concurrency: null, rateLimit: null };
  const limit = settingsOf(step).rateLimit;
  const own = workers?.flatMap(({ steps }) => steps.filter((each) => each.name === name));
  const path = `${PATH}/${name}`;
  return html`<section class="paper" aria-labelledby="${name}">
    <h2 id="${name}">
      ${name}
      ${now.paused ? html`<span class="badge warn">paused</span>` : html`<span class="badge good">running</span>`}
    </h2>
    <p class="muted">${workersText(own)}</p>
    <div class="actions">
      <form method="post" action="${path}/${now.paused ? "resume" : "pause"}">
        <button class="${now.paused && "primary"}" aria-label="${now.paused ? "Resume" : "Pause"} ${name}">
          ${now.paused ? "Resume" : "Pause"}
        </button>
      </form>
      <form method="post" action="${path}/concurrency" class="actions" aria-label="Concurrency of ${name}">
        ${numberField("Concurrency", { name: "concurrency", max: MOST, value: now.concurrency, unset: "no limit" })}
        <button aria-label="Set the concurrency of ${name}">Set</button>
      </form>
      <form method="post" action="${path}/rate-limit" class="actions" aria-label="Rate limit of ${name}">
        ${numberField("Rate limit (jobs)", { name: "max", max: MOST, value: now.rateLimit?.max, unset: limit ? String(limit.max) : "no limit" })}
        ${numberField("per (seconds)", { name: "seconds", max: 86_400, value: secondsOf(now.rateLimit?.durationMs ?? limit?.duration ?? 1_000) })}
        <button aria-label="Set the rate limit of ${name}">Set</button>
      </form>
    </div>
    ${
      limit &&
      now.rateLimit === null &&
      html`<p class="muted">
        The stage's default limit: ${number(limit.max)} per ${duration(limit.duration)}.
      </p>`
    }
  </section>`;
}

/** @param given `unset`: shown while the field is empty. */
function numberField(
  label: string,
  given: {
    readonly name: string;
    readonly max: number;
    readonly value: number | null | undefined;
    readonly unset?: string;
  },
): Html {
  const { name, max, value, unset } = given;
  return html`<label class="field"
    ><span>${label}</span
    ><input name="${name}" type="number" min="1" max="${max}" value="${value}" placeholder="${unset}"
  /></label>`;
}

function secondsOf(milliseconds: number): number {
  return Math.max(1, Math.round(milliseconds / 1_000));
}

function workersText(own: Heartbeat["steps"] | undefined): Content {
  if (own === undefined) return "Redis does not answer. Changes apply once it is back.";
  const concurrency = own.reduce((sum, each) => sum + each.concurrency, 0);
  const held = own.reduce((sum, each) => sum + each.held, 0);
  const still = own.filter((each) => each.standsStill).length;
  return html`${counted(own.length, "worker")} with a total concurrency of ${number(concurrency)};
  ${counted(held, "job")} active${still > 0 && `; ${counted(still, "worker")} stalled`}.`;
}
