import { z } from "zod";
import { listEvents, type OrderEvent } from "../../../../db/order-events.ts";
import { isRedisUnavailable } from "../../../../queues/errors.ts";
import { readJob, type JobStatus } from "../../../../queues/job-status.ts";
import { orderOf } from "../../lookup.ts";
import { Problem } from "../../problem.ts";
import { noSuch, route, type Route } from "../../route.ts";
import { idPath } from "../../schemas.ts";
import type { Services } from "../../services.ts";
import { LIMITS } from "../../../order/limits.ts";
import type { Transition } from "../../../order/lifecycle.ts";
import { CURRENCIES, moneyText } from "../../../order/money.ts";
import type { Adjustment, StageRecord, StoredOrder } from "../../../order/order.ts";
import type { Shipment } from "../../../order/shipment.ts";
import { actorOf } from "../../auth.ts";
import { FORM, leadTo, PAGE, show, showPart } from "../context.ts";
import { ago, counted, duration, moment, number, roughly, UNKNOWN } from "../format.ts";
import { html, href, type Content, type Html } from "../html.ts";
import { ROOT } from "../layout.ts";
import { confirmation, facts, reasonField, statusBadge, table } from "../parts.ts";
import { timelineOf, type Entry } from "../timeline.ts";
import { holds } from "./amendments.ts";
import { ledgerOf, paymentsOf, type OrderLedger } from "./payments.ts";
import { people } from "./people.ts";
import { parcelsOf } from "./shipments.ts";
import { nowMs } from "../../../platform/clock.ts";

/** Bull Board's path of a queue. */
const BOARD = "/queues/queue";

const cancelSchema = z.object({ reason: z.string().trim().min(1).max(LIMITS.reason) });
const ONE_ORDER = { names: "order", request: { params: idPath } } as const;

/** One order: its timeline, what comes next, and the available actions. */
export const orderPage: readonly Route[] = [
  route({
    ...PAGE,
    ...ONE_ORDER,
    path: `${ROOT}/orders/:id`,
    handler: async ({ params, response }, services) => {
      const found = await look(services, params.id);
      const { order } = found;
      show(services, response, {
        title: `Order ${order.reference ?? order.id}`,
        section: "Orders",
        live: !services.lifecycle.hasEnded(order.status),
        body: html`<h1>${order.reference === null ? "Order" : `Order ${order.reference}`}</h1>
          ${about(order)}
          <div id="live">${live(services, found)}</div>
          ${lines(order)} ${adjustments(order)} ${people(order)}`,
      });
    },
  }),
  route({
    ...PAGE,
    ...ONE_ORDER,
    path: `${ROOT}/orders/:id/live`,
    handler: async ({ params, response }, services) => {
      showPart(response, live(services, await look(services, params.id)));
    },
  }),
  route({
    ...FORM,
    ...ONE_ORDER,
    path: `${ROOT}/orders/:id/retry`,
    handler: async ({ params, response }, services) => {
      const isThere = (await services.operations.retry(params.id, actorOf(response))) !== undefined;
      if (!isThere) throw noSuch("order", params.id);
      leadTo(response, pathOf(params));
    },
  }),
  route({
    ...PAGE,
    ...ONE_ORDER,
    path: `${ROOT}/orders/:id/cancel`,
    handler: async ({ params, response }, services) => {
      const order = await orderOf(services.database, params.id);
      show(services, response, { title: "Cancel an order", section: "Orders", body: cancelForm(order) });
    },
  }),
  route({
    ...FORM,
    path: `${ROOT}/orders/:id/cancel`,
    names: "order",
    request: { params: idPath, form: cancelSchema },
    handler: async ({ params, form: { reason }, response }, services) => {
      const cancellation = await services.operations.cancel(params.id, reason, actorOf(response));
      if (cancellation === undefined) throw noSuch("order", params.id);
      if (!cancellation.accepted)
        throw new Problem(409, "too-late-to-cancel", {
          detail: "The order can no longer be cancelled.",
        });
      leadTo(response, pathOf(params));
    },
  }),
];

function pathOf({ id }: Pick<StoredOrder, "id">): string {
  return `${ROOT}/orders/${id}`;
}

function cancelForm(order: StoredOrder): Html {
  return html`<h1>Cancel order ${order.reference ?? order.id}?</h1>
    ${about(order)}
    <p>Stock is released and charges are refunded. This can't be undone.</p>
    ${confirmation({
      action: `${pathOf(order)}/cancel`,
      fields: reasonField("reason"),
      button: "Cancel order",
      kind: "danger",
      back: pathOf(order),
    })}`;
}

interface Found {
  readonly order: StoredOrder;
  readonly events: readonly OrderEvent[];
  readonly ledger: OrderLedger;
  readonly shipments: readonly Shipment[];
  /** The next transition; undefined if the order has ended. */
  readonly transition: Transition | undefined;
  /** Undefined if there are no queues or Redis is away. */
  readonly job: JobStatus | undefined;
}

/** @throws {Problem} 404 if there is no such order */
async function look(services: Services, id: string): Promise<Found> {
  const { database, redis, queues, lifecycle } = services;
  const order = await orderOf(database, id);
  const [events, ledger, shipments] = await Promise.all([
    listEvents(database, order.id),
    ledgerOf(services, order),
    services.parcels.list(order),
  ]);
  const transition = lifecycle.next({ status: order.status, cancelled: order.cancellation !== null });
  const job =
    transition && queues && redis
      ? await readJob({ queues, redis }, order.id, transition).catch((error: unknown) => {
          if (isRedisUnavailable(error)) return undefined;
          throw error;
        })
      : undefined;
  return { order, events, ledger, shipments, transition, job };
}

function about({ id, customerId, total, currency, createdAt }: StoredOrder): Html {
  return facts({
    Id: html`<span class="id">${id}</span>`,
    Customer: html`<a href="${href(`${ROOT}/orders`, { customer: customerId })}">${customerId}</a>`,
    Total: moneyText(total, currency),
    Created: moment(createdAt),
  });
}

/** The parts of the page that update themselves. */
function live(services: Services, found: Found): Html {
  const { lifecycle } = services;
  const { order, events, ledger, transition, job } = found;
  const ended = lifecycle.hasEnded(order.status);
  const entries = timelineOf(
    order,
    events,
    transition && { title: pending(transition), workingSince: job?.activeSince },
  );
  return html`<div class="state" id="state" role="status">
      <p>
        ${statusBadge({
          status: order.status,
          failedStage: order.failed?.stage ?? null,
          waitingFor: order.waiting?.for ?? null,
          cancelRequested: order.cancellation !== null,
        })}
        ${ended ? endedText(order, events) : nextText(found)}
      </p>
    </div>
    ${actions(services, found)} ${holds(order)} ${parcelsOf(services, order, found.shipments)}
    <section aria-labelledby="timeline">
      <h2 id="timeline">Timeline</h2>
      ${timeline(entries)}
    </section>
    ${paymentsOf(order, ledger)} ${records(order, events)} ${!ended && followed(order)}`;
}

/**
 * Makes the page refresh at each of the order's events, and every 2 s, since changes to its job are not events.
 */
function followed({ id }: Pick<StoredOrder, "id">): Html {
  return html`<div
    id="follow"
    data-order="${id}"
    data-stream="/events/stream"
    hx-get="${pathOf({ id })}/live"
    hx-trigger="moved, every 2s"
    hx-target="#live"
    hx-swap="innerMorph"
  ></div>`;
}

function pending({ step }: Transition): string {
  return `${step.name}: pending`;
}

function endedText(order: StoredOrder, events: readonly OrderEvent[]): Content {
  const last = events.at(-1);
  const took = last ? duration(last.at.getTime() - order.createdAt.getTime()) : undefined;
  const why = order.cancellation && html`, reason: ${order.cancellation.reason}`;
  return html`Ended${took !== undefined && html` ${took} after it was created`}${why}.`;
}

/** What happens next, and when. */
function nextText({ order, transition, job }: Found): Content {
  if (transition === undefined) return "";
  const step = html`<b>${transition.step.name}</b>`;
  if (order.failed && !(order.cancellation && order.cancellation.requestedAt >= order.failed.at))
    return html`${step} failed ${ago(order.failed.at)}: ${order.failed.reason}. Retry or cancel it.`;
  const { waiting } = order;
  if (waiting && !isQueued(job))
    return html`${step} has waited for ${waiting.for} since
    ${moment(waiting.since)}${waiting.until && html`, until ${moment(waiting.until)} at the latest`}. It goes
    on at once when that happens.`;
  if (job === undefined) return html`Next: ${step}.`;
  const attempt = job.attemptsMade > 0 ? `, attempt ${job.attemptsMade + 1} of ${job.attempts}` : "";
  switch (job.state) {
    case "active":
      return html`Now: ${step}${attempt}.`;
    case "waiting":
      return html`Next: ${step}${attempt}. Its job is waiting for a worker.`;
    case "delayed": {
      const inMs = (job.dueAt?.getTime() ?? 0) - nowMs();
      const when = inMs > 1_000 ? html`in ${duration(roughly(inMs))}` : "at any moment";
      return html`Next: ${step}${attempt}, ${when}${job.dueAt && html` (${moment(job.dueAt)})`}.`;
    }
    case "missing":
    case "finished":
    case "failed":
      return html`Next: ${step}. Its job is missing; a worker will queue it again within a minute.`;
  }
}

/** Whether the order's stage runs, or will. */
function isQueued(job: JobStatus | undefined): boolean {
  return job?.state === "active" || job?.state === "waiting" || job?.state === "delayed";
}

function actions({ lifecycle }: Services, { order, job }: Found): Html | undefined {
  const canAsk = order.waiting !== null && !isQueued(job);
  const canRetry = order.failed !== null || canAsk || job?.state === "delayed";
  const canCancel = order.cancellation === null && lifecycle.canCancel(order.status);
  const showJob = job && job.state !== "missing";
  const canHold = !lifecycle.hasEnded(order.status);
  const canChange = lifecycle.canCancel(order.status);
  if (!canRetry && !canHold && !showJob) return undefined;
  const path = pathOf(order);
  return html`<div class="actions" id="actions">
    ${
      canRetry &&
      html`<form method="post" action="${path}/retry">
        <button id="retry" class="${order.failed && "primary"}">
          ${order.failed ? "Retry now" : canAsk ? "Ask now" : "Try now"}
        </button>
      </form>`
    }
    ${canHold && html`<a class="button" id="hold" href="${path}/hold">Hold…</a>`}
    ${canChange && html`<a class="button" id="address" href="${path}/address">Change address…</a>`}
    ${canCancel && html`<a class="button" id="cancel" href="${path}/cancel">Cancel…</a>`}
    ${
      showJob &&
      html`<a id="job" href="${BOARD}/${job.step}/${encodeURIComponent(job.id)}">Open job in Bull Board</a>`
    }
  </div>`;
}

/** Width of a bar in SVG units. */
const SCALE = 1_000;
/** Minimum width, so that short times stay visible. */
const THINNEST = 4;

function timeline(entries: readonly Entry[]): Html {
  const begin = entries[0]?.from ?? 0;
  const end = Math.max(begin + 1, ...entries.map(({ to }) => to));
  return html`<ol class="timeline">
      ${entries.map((entry, index) =>
        line(entry, { index, span: { begin, end }, isRepeated: isSame(entry, entries[index - 1]) }),
      )}
    </ol>
    <p class="muted scale">
      The bars cover ${duration(end - begin)}:
      <span class="key wait">waiting</span>, <span class="key work">working</span>,
      <span class="key bad">failed</span>.
    </p>`;
}

/** Whether two entries have the same reason, to show long ones only once. */
function isSame({ reason }: Entry, before: Entry | undefined): boolean {
  return reason !== null && reason === before?.reason;
}

interface Span {
  readonly begin: number;
  readonly end: number;
}

function line(
  entry: Entry,
  { index, span, isRepeated }: { readonly index: number; readonly span: Span; readonly isRepeated: boolean },
): Html {
  const { kind, title, actor, attempt, at, from, workFrom, to, reason, record } = entry;
  const waited = workFrom - from;
  const worked = to - workFrom;
  const times = [
    ...(waited > 0 ? [`waited ${duration(roughlyNow(kind, waited))}`] : []),
    ...(worked > 0 ? [`took ${duration(roughlyNow(kind, worked))}`] : []),
  ].join(", ");
  return html`<li class="${kind}" id="entry-${index}">
    <div class="what">
      <b>${title}</b>
      ${attempt !== null && attempt > 1 && html`<span class="muted">attempt ${attempt}</span>`}
      ${actor !== null && html`<span class="muted">by ${actor}</span>`}
    </div>
    <div class="when muted">${kind === "now" ? "now" : moment(at)}</div>
    <div class="bar">${bar(entry, span)}</div>
    <div class="took muted">${times}</div>
    ${reason !== null && html`<p class="reason">${isRepeated ? "Same reason." : reason}</p>`}
    ${record && recordText(record)}
  </li>`;
}

/** Rounds the duration of the current entry to whole seconds. */
function roughlyNow(kind: Entry["kind"], milliseconds: number): number {
  return kind === "now" ? roughly(milliseconds) : milliseconds;
}

/** Draws a bar to scale, without inline styles. The text beside it says the same. */
function bar({ kind, from, workFrom, to }: Entry, { begin, end }: Span): Html {
  const place = (time: number) => Math.round(((time - begin) / (end - begin)) * SCALE);
  const part = (name: string, first: number, last: number) => {
    const x = Math.min(place(first), SCALE - THINNEST);
    const width = Math.max(THINNEST, place(last) - x);
    return html`<rect class="${name}" x="${x}" width="${width}" height="10" />`;
  };
  const hasFailed = kind === "attempt" || kind === "failed";
  return html`<svg viewBox="0 0 ${SCALE} 10" preserveAspectRatio="none" aria-hidden="true" focusable="false">
    <rect class="ground" width="${SCALE}" height="10" />
    ${workFrom > from && part("wait", from, workFrom)}${
      (to > workFrom || workFrom === from) && part(hasFailed ? "bad" : "work", workFrom, to)
    }
  </svg>`;
}

function recordText(record: StageRecord): Html | undefined {
  const fields = Object.entries(readable(record));
  if (fields.length === 0) return undefined;
  const shown = fields.map(([name, value]) => [name, value === null ? UNKNOWN : String(value)]);
  return facts(Object.fromEntries(shown), "record");
}

/** Formats the amount of money in a record. */
function readable(record: StageRecord): StageRecord {
  const { amount, currency, ...others } = record;
  return typeof amount === "number" && typeof currency === "string" && CURRENCIES.has(currency)
    ? { ...others, amount: moneyText(amount, currency) }
    : record;
}

/** The stages' records, such as the payment and the shipment. */
function records(order: StoredOrder, events: readonly OrderEvent[]): Html | undefined {
  const kept = Object.entries(order.records).filter(([, record]) => Object.keys(record).length > 0);
  if (kept.length === 0) return undefined;
  const doneAt = new Map(
    events.flatMap(({ type, stage, at }) => (type === "status" && stage ? [[stage, at]] : [])),
  );
  return html`<section aria-labelledby="records">
    <h2 id="records">Records</h2>
    <div class="columns">
      ${kept.map(([stage, record]) => {
        const at = doneAt.get(stage);
        return html`<div class="paper" id="record-${stage}">
          <h3>${stage} ${at && html`<span class="muted">${moment(at)}</span>`}</h3>
          ${recordText(record)}
        </div>`;
      })}
    </div>
  </section>`;
}

/** Lines shown at most: an order may have thousands. */
const LINES_SHOWN = 100;

function lines({ lines: all, currency }: StoredOrder): Html {
  return html`<section aria-labelledby="lines">
    <h2 id="lines">Lines <span class="muted">${number(all.length)}</span></h2>
    ${table({
      caption: "Order lines",
      rows: all.slice(0, LINES_SHOWN),
      columns: [
        {
          title: "SKU",
          heading: true,
          cell: ({ sku, name, stocked }) =>
            html`${sku}${name !== undefined && html` <span class="muted">${name}</span>`}${stocked === false && html` <span class="muted">not stocked</span>`}`,
        },
        {
          title: "Quantity",
          numeric: true,
          cell: ({ quantity, cancelled = 0 }) =>
            html`${number(quantity)}${cancelled > 0 && html` <span class="muted">${number(cancelled)} not shipped</span>`}`,
        },
        { title: "Unit price", numeric: true, cell: ({ unitPrice }) => moneyText(unitPrice, currency) },
        {
          title: "Total",
          numeric: true,
          cell: ({ quantity, unitPrice }) => moneyText(quantity * unitPrice, currency),
        },
      ],
    })}
    ${all.length > LINES_SHOWN && html`<p class="muted">And ${counted(all.length - LINES_SHOWN, "more line", "more lines")}.</p>`}
  </section>`;
}

/** What changes the total apart from the lines. */
function adjustments({ adjustments: all, currency }: StoredOrder): Html | undefined {
  if (all.length === 0) return undefined;
  return html`<section aria-labelledby="adjustments">
    <h2 id="adjustments">Adjustments</h2>
    ${table({
      caption: "Adjustments",
      rows: all,
      columns: [
        { title: "Kind", heading: true, cell: kindOf },
        { title: "Label", cell: ({ label }) => label ?? UNKNOWN },
        { title: "Amount", numeric: true, cell: ({ amount }) => moneyText(amount, currency) },
      ],
    })}
  </section>`;
}

function kindOf({ kind, included }: Adjustment): string {
  return included === true ? `${kind}, contained in the prices` : kind;
}
