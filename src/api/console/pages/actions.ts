import { validate as isUuid } from "uuid";
import { z } from "zod";
import { listActions, type OperatorAction } from "../../../../db/operator-actions.ts";
import { route, type Route } from "../../route.ts";
import { PAGE, show } from "../context.ts";
import { counted, moment } from "../format.ts";
import { html, href, type Content } from "../html.ts";
import { ROOT } from "../layout.ts";
import { empty, orderLink, pager, table } from "../parts.ts";

const PATH = `${ROOT}/actions`;
const PAGE_SIZE = 50;

const querySchema = z.object({ before: z.coerce.number().int().positive().optional() });

/** The log of operators' actions. */
export const actionsPage: readonly Route[] = [
  route({
    ...PAGE,
    path: PATH,
    request: { query: querySchema },
    handler: async ({ query: { before }, response }, services) => {
      const { items, older } = await listActions(services.reads, { limit: PAGE_SIZE, before });
      show(services, response, {
        title: "Actions",
        section: "Actions",
        body: html`<h1>Actions</h1>
          ${
            items.length === 0
              ? empty("No actions yet.")
              : table({
                  caption: "Actions, newest first",
                  rows: items,
                  columns: [
                    { title: "When", wide: true, cell: ({ at }) => moment(at) },
                    { title: "Who", heading: true, cell: ({ actor }) => actor },
                    { title: "What", wide: true, short: true, cell: what },
                    { title: "Target", wide: true, cell: target },
                    { title: "Details", wide: true, cell: details },
                  ],
                })
          }
          ${pager(before === undefined ? undefined : PATH, older === null ? undefined : href(PATH, { before: older }))}`,
      });
    },
  }),
];

const WORDS: Readonly<Record<string, string>> = {
  retry: "retried",
  cancel: "cancelled",
  hold: "held",
  release: "released",
  change: "changed",
  book: "booked a parcel of",
  void: "called off a parcel of",
  close: "closed a parcel of",
  "resume-group": "resumed all",
  "cancel-group": "cancelled all",
  pause: "paused",
  resume: "resumed",
  concurrency: "set the concurrency",
  "rate-limit": "set the rate limit",
  board: "in Bull Board",
  "webhook-create": "created the webhook endpoint",
  "webhook-change": "changed the webhook endpoint",
  "webhook-enable": "enabled the webhook endpoint",
  "webhook-disable": "disabled the webhook endpoint",
  "webhook-rotate": "rotated the secret of the webhook endpoint",
  "webhook-delete": "deleted the webhook endpoint",
  "webhook-test": "sent a test message to the webhook endpoint",
  "webhook-resend": "resent a delivery to the webhook endpoint",
};

function what({ action }: OperatorAction): string {
  return WORDS[action] ?? action;
}

function target({ target: name, action, id }: OperatorAction): Content {
  if (action.startsWith("webhook-")) return html`<a class="id" href="${ROOT}/webhooks/${name}">${name}</a>`;
  if (isUuid(name)) return orderLink(name);
  return action.endsWith("-group")
    ? html`<a href="${ROOT}/failures/progress/${id}">failed in ${name}</a>`
    : html`<a href="${ROOT}/queues">${name}</a>`;
}

function details({ details: fields, action, done, state }: OperatorAction): Content {
  const fieldTexts = Object.entries(fields ?? {})
    .filter(([name]) => name !== "looked" && name !== "request")
    .map(([name, value]) => `${name}: ${value ?? "any"}`);
  const isGroup = action.endsWith("-group");
  const progress = isGroup ? [`${counted(done, "order")}${state === "done" ? "" : ` (${state})`}`] : [];
  const refused = !isGroup && state === "failed" ? ["too late"] : [];
  return [...fieldTexts, ...progress, ...refused].join("; ");
}
