import { z } from "zod";
import {
  countDeliveries,
  listDeliveries,
  type DeliveryState,
  type ListedDelivery,
  type WebhookAttempt,
} from "../../../../db/webhook-deliveries.ts";
import { listEndpoints, type WebhookEndpoint } from "../../../../db/webhook-endpoints.ts";
import { deliveryOf, endpointOf } from "../../lookup.ts";
import { route, type Route } from "../../route.ts";
import { idPath, numberPath } from "../../schemas.ts";
import type { Services } from "../../services.ts";
import { EVENT_TYPES } from "../../../order/event.ts";
import { COLUMN_LENGTHS } from "../../../../db/column-lengths.ts";
import type { WebhookEndpoints } from "../../../events/webhooks/endpoints.ts";
import { actorOf } from "../../auth.ts";
import { FORM, leadTo, PAGE, show } from "../context.ts";
import { formField, keyOf, keySchema } from "../forms.ts";
import { ago, bounded, counted, duration, moment, number, UNKNOWN } from "../format.ts";
import { html, href, type Content, type Html } from "../html.ts";
import { ROOT } from "../layout.ts";
import { confirmation, empty, facts, orderLink, pager, select, table } from "../parts.ts";

const PATH = `${ROOT}/webhooks`;
const PAGE_SIZE = 50;
const STATES = ["pending", "delivered", "failed"] as const;

const querySchema = z.object({
  before: z.coerce.number().int().positive().optional(),
  state: z
    .enum(STATES)
    .or(z.literal("").transform(() => undefined))
    .optional(),
});

/** Browsers send one checked box as a string, several as a list. */
const typesSchema = z
  .preprocess(
    (value) => (typeof value === "string" ? [value] : value),
    z.array(z.enum(EVENT_TYPES)).optional(),
  )
  .transform((types) => (types === undefined || types.length === EVENT_TYPES.length ? null : types));
const settingsSchema = z.object({
  url: z.string().trim().min(1, "is required").max(COLUMN_LENGTHS.webhookUrl),
  description: z
    .string()
    .trim()
    .max(COLUMN_LENGTHS.webhookDescription)
    .transform((text) => text || null),
  eventTypes: typesSchema,
});

const ONE_ENDPOINT = { names: "webhook endpoint", request: { params: idPath } } as const;
const ONE_DELIVERY = { names: "delivery", request: { params: numberPath } } as const;

/** A button that acts on an endpoint. @param act does so, and gives the path to redirect to, below `PATH` */
function button(
  name: string,
  act: (webhooks: WebhookEndpoints, id: string, operator: string) => Promise<string>,
): Route {
  return route({
    ...FORM,
    ...ONE_ENDPOINT,
    path: `${PATH}/:id/${name}`,
    handler: async ({ params: { id }, response }, { webhooks }) => {
      leadTo(response, PATH + (await act(webhooks, id, actorOf(response))));
    },
  });
}

/** Webhook endpoints, their state, and each delivery with its responses. */
export const webhooksPage: readonly Route[] = [
  route({
    ...PAGE,
    path: PATH,
    handler: async ({ response }, services) => {
      show(services, response, { title: "Webhooks", section: "Webhooks", body: await overview(services) });
    },
  }),
  route({
    ...FORM,
    path: PATH,
    request: { form: settingsSchema.extend(keySchema.shape) },
    handler: async ({ form: { form, ...settings }, response }, services) => {
      const operator = actorOf(response);
      const made = services.webhooks.create(settings, operator, keyOf({ form }, operator));
      show(services, response, secretPage((await made).endpoint, "Endpoint added"));
    },
  }),
  route({
    ...PAGE,
    ...ONE_DELIVERY,
    path: `${PATH}/deliveries/:id`,
    handler: async ({ params, response }, services) => {
      const body = await deliveryPage(services, Number(params.id));
      show(services, response, { title: "Delivery", section: "Webhooks", body });
    },
  }),
  route({
    ...FORM,
    ...ONE_DELIVERY,
    path: `${PATH}/deliveries/:id/resend`,
    handler: async ({ params, response }, { webhooks }) => {
      const { id } = await webhooks.resend(Number(params.id), actorOf(response));
      leadTo(response, `${PATH}/deliveries/${id}`);
    },
  }),
  route({
    ...PAGE,
    path: `${PATH}/:id`,
    names: "webhook endpoint",
    request: { params: idPath, query: querySchema },
    handler: async ({ params, query: { before, state }, response }, services) => {
      const endpoint = await endpointOf(services.database, params.id);
      const page = await listDeliveries(services.reads, endpoint.id, { limit: PAGE_SIZE, before, state });
      const body = endpointPage(endpoint, { ...page, before, state });
      show(services, response, { title: "Webhook endpoint", section: "Webhooks", body });
    },
  }),
  route({
    ...FORM,
    path: `${PATH}/:id`,
    names: "webhook endpoint",
    request: { params: idPath, form: settingsSchema },
    handler: async ({ params: { id }, form: settings, response }, { webhooks }) => {
      await webhooks.change(id, settings, actorOf(response));
      leadTo(response, `${PATH}/${id}`);
    },
  }),
  route({
    ...FORM,
    path: `${PATH}/:id/rotate-secret`,
    names: "webhook endpoint",
    request: { params: idPath, form: keySchema },
    handler: async ({ params: { id }, form, response }, services) => {
      const operator = actorOf(response);
      const made = services.webhooks.rotate(id, operator, keyOf(form, operator));
      show(services, response, secretPage((await made).endpoint, "Secret rotated"));
    },
  }),
  button("enable", async (webhooks, id, operator) => {
    return `/${(await webhooks.change(id, { enabled: true }, operator)).id}`;
  }),
  button("disable", async (webhooks, id, operator) => {
    return `/${(await webhooks.change(id, { enabled: false }, operator)).id}`;
  }),
  button("test", async (webhooks, id, operator) => `/deliveries/${(await webhooks.test(id, operator)).id}`),
  route({
    ...PAGE,
    ...ONE_ENDPOINT,
    path: `${PATH}/:id/delete`,
    handler: async ({ params, response }, services) => {
      const body = confirmDelete(await endpointOf(services.database, params.id));
      show(services, response, { title: "Delete a webhook endpoint", section: "Webhooks", body });
    },
  }),
  button("delete", async (webhooks, id, operator) => {
    await webhooks.remove(id, operator);
    return "";
  }),
];

function confirmDelete({ id, url, description }: WebhookEndpoint): Html {
  return html`<h1>Delete ${description ?? "the endpoint"}?</h1>
    ${facts({ URL: url })}
    <p>
      It gets no more events, and its deliveries are deleted. This can't be undone. To pause it, disable it
      instead.
    </p>
    ${confirmation({
      action: `${PATH}/${id}/delete`,
      button: "Delete endpoint",
      kind: "danger",
      back: `${PATH}/${id}`,
    })}`;
}

async function overview({ database }: Services): Promise<Html> {
  const endpoints = await listEndpoints(database);
  const rows = await Promise.all(
    endpoints.map(async (endpoint) => ({
      endpoint,
      waiting: await countDeliveries(database, endpoint.id, "pending"),
      failed: await countDeliveries(database, endpoint.id, "failed"),
    })),
  );
  return html`<h1>Webhooks</h1>
    ${
      rows.length === 0
        ? empty("There are no endpoints yet.")
        : table({
            caption: "Webhook endpoints",
            rows,
            columns: [
              {
                title: "Endpoint",
                heading: true,
                cell: ({ endpoint: { id, url, description } }) =>
                  html`<a href="${PATH}/${id}">${description ?? url}</a>${
                      description !== null && html`<br /><span class="muted">${url}</span>`
                    }`,
              },
              { title: "State", short: true, cell: ({ endpoint }) => stateOf(endpoint) },
              {
                title: "Events",
                short: true,
                cell: ({ endpoint: { eventTypes } }) => eventTypes?.join(", ") ?? "all",
              },
              { title: "Waiting", numeric: true, cell: ({ waiting }) => bounded(waiting) },
              { title: "Failed", numeric: true, cell: ({ failed }) => bounded(failed) },
            ],
          })
    }
    <section class="paper" aria-labelledby="new">
      <h2 id="new">Add an endpoint</h2>
      ${settingsForm(PATH, "Add endpoint")}
    </section>`;
}

function settingsForm(action: string, label: string, given?: WebhookEndpoint): Html {
  return html`<form method="post" action="${action}" class="stack">
    ${formField()}
    <label class="field"
      ><span>URL</span
      ><input name="url" type="url" required maxlength="${COLUMN_LENGTHS.webhookUrl}" value="${given?.url}"
    /></label>
    <label class="field"
      ><span>Description</span
      ><input
        name="description"
        maxlength="${COLUMN_LENGTHS.webhookDescription}"
        value="${given?.description}"
    /></label>
    <fieldset>
      <legend>Events</legend>
      ${EVENT_TYPES.map((type) => {
        const isChecked = given?.eventTypes?.includes(type) ?? true;
        return html`<p>
          <label
            >${
              isChecked
                ? html`<input type="checkbox" name="eventTypes" value="${type}" checked />`
                : html`<input type="checkbox" name="eventTypes" value="${type}" />`
            }
            ${type}</label
          >
        </p>`;
      })}
    </fieldset>
    <div><button class="primary">${label}</button></div>
  </form>`;
}

function secretPage(endpoint: WebhookEndpoint, title: string) {
  return {
    title,
    section: "Webhooks" as const,
    body: html`<h1>${title}</h1>
      <p>Messages to ${endpoint.url} are signed with this secret. It is shown only once: save it now.</p>
      <p class="paper"><code class="id">${endpoint.secret}</code></p>
      ${
        endpoint.previousSecret !== null &&
        endpoint.previousSecretUntil !== null &&
        html`<p>The previous secret stays valid until ${moment(endpoint.previousSecretUntil)}.</p>`
      }
      <p><a href="${PATH}/${endpoint.id}">Go to the endpoint</a></p>`,
  };
}

interface DeliveriesShown {
  readonly items: readonly ListedDelivery[];
  readonly older: number | null;
  readonly before: number | undefined;
  readonly state: DeliveryState | undefined;
}

function endpointPage(endpoint: WebhookEndpoint, shown: DeliveriesShown): Html {
  const path = `${PATH}/${endpoint.id}`;
  const isEnabled = endpoint.state === "enabled";
  return html`<p><a href="${PATH}">All endpoints</a></p>
    <h1>${endpoint.description ?? endpoint.url}</h1>
    ${
      endpoint.disabledAt !== null &&
      html`<div class="verdict attention">
        <p>Disabled since ${moment(endpoint.disabledAt)}: ${endpoint.disabledReason}.</p>
      </div>`
    }
    ${facts({
      URL: endpoint.url,
      State: stateOf(endpoint),
      Events: endpoint.eventTypes?.join(", ") ?? "all",
      Created: moment(endpoint.createdAt),
    })}
    <div class="actions">
      ${buttonForm(`${path}/${isEnabled ? "disable" : "enable"}`, isEnabled ? "Disable" : "Enable", !isEnabled && "primary")}
      ${isEnabled && buttonForm(`${path}/test`, "Send test message")}
      ${buttonForm(`${path}/rotate-secret`, "Rotate secret")}
    </div>
    <details>
      <summary>Edit or delete</summary>
      <div class="paper">
        ${settingsForm(path, "Save", endpoint)}
        <p><a class="button" href="${path}/delete">Delete…</a></p>
      </div>
    </details>
    <h2>Deliveries</h2>
    ${deliveries(path, shown)}`;
}

function deliveries(path: string, { items, older, before, state }: DeliveriesShown): Html {
  return html`<form method="get" action="${path}" class="filters">
      ${select({
        name: "state",
        label: "State",
        value: state,
        choices: [["", "all"], ...STATES.map((each) => [each, WORDS[each]] as const)],
      })}
      <button>Show</button>
    </form>
    ${
      items.length === 0
        ? empty("No deliveries.")
        : table({
            caption: "Deliveries, newest first",
            rows: items,
            columns: [
              {
                title: "Delivery",
                heading: true,
                cell: ({ id }) => html`<a href="${PATH}/deliveries/${id}">${String(id)}</a>`,
              },
              { title: "Created", wide: true, cell: ({ createdAt }) => moment(createdAt) },
              { title: "Event", short: true, cell: eventOf },
              {
                title: "Order",
                wide: true,
                cell: ({ eventId, orderId }) => eventId !== null && orderLink(orderId),
              },
              { title: "State", short: true, cell: deliveryState },
              { title: "Attempts", numeric: true, cell: ({ attempts }) => number(attempts) },
              { title: "Response", cell: lastAnswer },
            ],
          })
    }
    ${pager(
      before === undefined ? undefined : href(path, { state }),
      older === null ? undefined : href(path, { state, before: older }),
    )}`;
}

async function deliveryPage({ database }: Services, id: number): Promise<Html> {
  const { delivery, attempts, message } = await deliveryOf(database, id);
  return html`<p><a href="${PATH}/${delivery.endpointId}">All deliveries to this endpoint</a></p>
    <h1>Delivery ${String(id)}</h1>
    ${facts({
      State: deliveryState(delivery),
      Event: eventOf(delivery),
      Order: delivery.eventId !== null && orderLink(delivery.orderId),
      [delivery.state === "pending" ? "Next attempt" : "Settled"]: moment(delivery.dueAt),
    })}
    <div class="actions">${buttonForm(`${PATH}/deliveries/${id}/resend`, "Resend", "primary")}</div>
    <h2>Request</h2>
    <pre class="paper id">
${
        message
          ? `content-type: application/json\nwebhook-id: ${message.id}\n\n${JSON.stringify(JSON.parse(message.body), null, 2)}`
          : "The event is no longer in the log."
      }</pre>
    <h2>${counted(attempts.length, "attempt")}</h2>
    ${attempts.length === 0 ? empty("No attempts yet.") : attempts.map(attemptPart)}`;
}

function attemptPart({ at, url, status, error, response, durationMs }: WebhookAttempt): Html {
  const isGood = status !== null && status >= 200 && status < 300;
  return html`<section class="paper">
    <p>
      ${moment(at)}
      <span class="badge ${isGood ? "good" : "bad"}">${status === null ? "no answer" : String(status)}</span>
      after ${duration(durationMs)}, ${url}
    </p>
    ${error !== null && html`<p class="bad">${error}</p>`}
    ${response !== null && response !== "" && html`<pre class="id">${response}</pre>`}
  </section>`;
}

const WORDS = { pending: "waiting", delivered: "delivered", failed: "failed" } as const;
const SIGNS = { pending: "warn", delivered: "good", failed: "bad" } as const;

function deliveryState({ state }: Pick<ListedDelivery, "state">): Html {
  return html`<span class="badge ${SIGNS[state]}">${WORDS[state]}</span>`;
}

function eventOf({ eventId, eventType, eventTo }: ListedDelivery): Content {
  if (eventId === null) return "test message";
  if (eventType === null) return UNKNOWN;
  return `${eventId}: ${eventType === "status" ? (eventTo ?? "") : eventType}`;
}

function lastAnswer({ lastStatus, lastError }: ListedDelivery): Content {
  return lastStatus === null ? (lastError ?? UNKNOWN) : String(lastStatus);
}

function stateOf({ state, failingSince, lastError, nextAttemptAt }: WebhookEndpoint): Html {
  if (state !== "enabled") return html`<span class="badge warn">disabled</span>`;
  if (failingSince === null) return html`<span class="badge good">enabled</span>`;
  return html`<span class="badge bad">failing</span> since
    ${ago(failingSince)}${lastError !== null && html`: ${lastError}`}${
      nextAttemptAt !== null &&
      html`<br /><span class="muted">next attempt at ${moment(nextAttemptAt)}</span>`
    }`;
}

function buttonForm(action: string, text: string, name: string | false = false): Html {
  return html`<form method="post" action="${action}" class="inline">
    ${formField()}
    <button class="${name}">${text}</button>
  </form>`;
}
