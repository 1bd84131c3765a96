import { z } from "zod";
import { findAction, type OperatorAction } from "../../../../db/operator-actions.ts";
import { countGroup, countStage, groupFailures, type FailureGroup } from "../../../../db/failures.ts";
import { noSuch, route, type Route } from "../../route.ts";
import { numberPath } from "../../schemas.ts";
import type { Services } from "../../services.ts";
import type { BoundedCount } from "../../../engine/ports.ts";
import { lifecycle } from "../../../order/lifecycle.ts";
import { LIMITS } from "../../../order/limits.ts";
import { actorOf } from "../../auth.ts";
import { FORM, leadTo, PAGE, show, showPart } from "../context.ts";
import { ago, bounded, counted, moment, number } from "../format.ts";
import { html, href, type Html } from "../html.ts";
import { ROOT } from "../layout.ts";
import { confirmation, empty, facts, reasonField, table } from "../parts.ts";
import { nowMs } from "../../../platform/clock.ts";

const PATH = `${ROOT}/failures`;

/** Failed orders examined per stage, newest first. */
const EXAMINED = 1_000;
/** Count at most this many failed orders of a stage. */
const COUNTED = 100_000;
/** Groups shown at most: if every order fails for its own reason, there are many. */
const GROUPS_SHOWN = 100;
/** A batch without an update for this many milliseconds was abandoned: its process died. */
const ABANDONED_AFTER_MS = 30_000;

const stage = z.lazy(() => z.enum(lifecycle.steps.map((step) => step.name)));
const reason = z
  .string()
  .max(LIMITS.reason)
  .optional()
  .transform((text) => text || undefined);
const groupSchema = z.object({ stage, reason });
const cancelSchema = groupSchema.extend({ why: z.string().trim().min(1).max(LIMITS.reason) });
const ONE_BATCH = { ...PAGE, names: "batch", request: { params: numberPath } } as const;

type Group = z.output<typeof groupSchema>;

/** Failed orders grouped by stage and reason; each group can be resumed or cancelled as a whole. */
export const failuresPage: readonly Route[] = [
  route({
    ...PAGE,
    path: PATH,
    handler: async ({ response }, services) => {
      const { groups, more } = await groupFailures(services.reads, EXAMINED);
      show(services, response, { title: "Failures", section: "Failures", body: body(groups, more) });
    },
  }),
  route({
    ...PAGE,
    path: `${PATH}/resume`,
    request: { query: groupSchema },
    handler: async ({ query: group, response }, services) => {
      const count = await countOf(services, group);
      show(services, response, {
        title: "Resume orders",
        section: "Failures",
        body: confirmResume(group, count),
      });
    },
  }),
  route({
    ...FORM,
    path: `${PATH}/resume`,
    request: { form: groupSchema },
    handler: async ({ form: group, response }, { failureGroups }) => {
      const id = await failureGroups.start({ action: "resume", group, actor: actorOf(response) });
      leadTo(response, `${PATH}/progress/${id}`);
    },
  }),
  route({
    ...PAGE,
    path: `${PATH}/cancel`,
    request: { query: groupSchema },
    handler: async ({ query: group, response }, services) => {
      const count = await countOf(services, group);
      show(services, response, {
        title: "Cancel orders",
        section: "Failures",
        body: confirmCancel(group, count),
      });
    },
  }),
  route({
    ...FORM,
    path: `${PATH}/cancel`,
    request: { form: cancelSchema },
    handler: async ({ form: { why, ...group }, response }, { failureGroups }) => {
      const id = await failureGroups.start({ action: "cancel", group, why, actor: actorOf(response) });
      leadTo(response, `${PATH}/progress/${id}`);
    },
  }),
  route({
    ...ONE_BATCH,
    path: `${PATH}/progress/:id`,
    handler: async ({ params: { id }, response }, services) => {
      const action = await find(services, id);
      show(services, response, {
        title: "Progress",
        section: "Failures",
        live: action.state === "running",
        body: html`<h1>${titleOf(action)}</h1>
          <div id="live">${progress(action)}</div>
          <p><a href="${PATH}">Back to the failures</a></p>`,
      });
    },
  }),
  route({
    ...ONE_BATCH,
    path: `${PATH}/progress/:id/live`,
    handler: async ({ params: { id }, response }, services) => {
      showPart(response, progress(await find(services, id)));
    },
  }),
];

function body(groups: readonly FailureGroup[], more: ReadonlySet<string>): Html {
  const stages = [...new Set(groups.map((group) => group.stage))];
  return html`<h1>Failures</h1>
    ${
      groups.length === 0
        ? empty("No order has failed.")
        : html`<p>
              These orders have used all attempts of a stage and wait for you to resume or cancel them.
            </p>
            ${
              stages.length > 0 &&
              html`<div class="actions">
                ${stages.map(
                  (name) =>
                    html`<a class="button" href="${href(`${PATH}/resume`, { stage: name })}"
                      >Resume all in ${name}…</a
                    >`,
                )}
              </div>`
            }
            ${groupTable(groups.slice(0, GROUPS_SHOWN), more)}
            ${
              groups.length > GROUPS_SHOWN &&
              html`<p class="muted">And ${counted(groups.length - GROUPS_SHOWN, "smaller group")}.</p>`
            }
            ${[...more].map(
              (name) =>
                html`<p class="muted">
                  More than ${number(EXAMINED)} orders failed in ${name}; only the newest are shown.
                </p>`,
            )}`
    }`;
}

function groupTable(groups: readonly FailureGroup[], more: ReadonlySet<string>): Html {
  return table({
    caption: "Failed orders by stage and reason",
    rows: groups,
    columns: [
      {
        title: "Reason",
        heading: true,
        cell: ({ reason: text }) => html`<span class="long">${text}</span>`,
      },
      { title: "Stage", short: true, cell: (group) => group.stage },
      {
        title: "Orders",
        numeric: true,
        cell: (group) =>
          html`<a href="${href(`${ROOT}/orders`, { failed: `in ${group.stage}` })}"
            >${bounded({ count: group.count, more: more.has(group.stage) })}</a
          >`,
      },
      { title: "First", numeric: true, cell: ({ firstAt }) => ago(firstAt) },
      { title: "Last", numeric: true, cell: ({ lastAt }) => ago(lastAt) },
      {
        title: "Action",
        wide: true,
        cell: (group) =>
          html`<span class="deeds"
            ><a class="button" href="${groupHref("resume", group)}">Resume…</a>
            <a class="button" href="${groupHref("cancel", group)}">Cancel…</a></span
          >`,
      },
    ],
  });
}

/** The number of orders in a group, up to a limit. */
function countOf({ database }: Services, { stage: name, reason: text }: Group): Promise<BoundedCount> {
  return text === undefined
    ? countStage(database, name, COUNTED)
    : countGroup(database, { stage: name, reason: text }, EXAMINED);
}

function groupHref(action: "resume" | "cancel", group: Group): string {
  return href(`${PATH}/${action}`, { stage: group.stage, reason: group.reason });
}

function about({ stage: name, reason: text }: Group): Html {
  return facts({ "Failed in": name, Reason: text ?? "any" });
}

function ordersOf(count: BoundedCount): string {
  return counted(count.more ? bounded(count) : count.count, "order");
}

function hidden({ stage: name, reason: text }: Group): Html {
  return html`<input type="hidden" name="stage" value="${name}" /><input
      type="hidden"
      name="reason"
      value="${text}"
    />`;
}

function confirmResume(group: Group, count: BoundedCount): Html {
  return html`<h1>Resume ${ordersOf(count)}?</h1>
    ${about(group)}
    <p>Each order retries the stage that it failed in, with all its attempts.</p>
    ${confirmation({
      action: `${PATH}/resume`,
      fields: hidden(group),
      button: "Resume orders",
      kind: "primary",
      back: PATH,
    })}`;
}

function confirmCancel(group: Group, count: BoundedCount): Html {
  return html`<h1>Cancel ${ordersOf(count)}?</h1>
    ${about(group)}
    <p>
      Stock is released and charges are refunded. This can't be undone. Orders that can no longer be cancelled
      stay as they are.
    </p>
    ${confirmation({
      action: `${PATH}/cancel`,
      fields: [hidden(group), reasonField("why")],
      button: "Cancel orders",
      kind: "danger",
      back: PATH,
    })}`;
}

/** @throws {Problem} 404 if there is no such batch */
async function find({ database }: Services, id: string): Promise<OperatorAction> {
  const action = await findAction(database, Number(id));
  if (action === undefined) throw noSuch("batch", id);
  return action;
}

function titleOf({ action, target }: OperatorAction): string {
  return `${action === "cancel-group" ? "Cancelling" : "Resuming"} orders that failed in ${target}`;
}

function progress(action: OperatorAction): Html {
  const { id, state, done, total, details, target, actor, at, updatedAt } = action;
  const looked = Number(details?.["looked"] ?? 0);
  const isAbandoned = state === "running" && nowMs() - updatedAt.getTime() > ABANDONED_AFTER_MS;
  const isRunning = state === "running" && !isAbandoned;
  // More orders may have failed since the count.
  const all = Math.max(total ?? 0, looked, 1);
  return html`<p class="muted">
      Started by ${actor}, ${moment(at)}. Failure reason: ${String(details?.["reason"] ?? "any")}.
    </p>
    <p>
      ${
        total === null && state !== "done"
          ? html`<progress id="progress" aria-label="Progress"></progress>`
          : html`<progress
              id="progress"
              aria-label="Progress"
              value="${state === "done" ? all : looked}"
              max="${all}"
            ></progress>`
      }
    </p>
    <p role="status" id="count">
      <b>${state === "done" ? "Done" : "So far"}: ${counted(done, "order")}.</b> Checked ${number(looked)}
      ${total !== null && `of ${number(Math.max(total, looked))}`} that failed in ${target}.
      ${
        (state === "failed" || isAbandoned) &&
        html`<span class="bad">It stopped early. Start it again for the remaining orders.</span>`
      }
    </p>
    ${
      isRunning &&
      html`<div
        id="follow"
        hx-get="${PATH}/progress/${id}/live"
        hx-trigger="every 500ms"
        hx-target="#live"
        hx-swap="innerMorph"
      ></div>`
    }`;
}
