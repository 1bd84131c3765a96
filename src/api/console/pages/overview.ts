import type { Heartbeat } from "../../../../queues/telemetry/heartbeats.ts";
import type { Check } from "../../readiness.ts";
import { route, type Route } from "../../route.ts";
import { PAGE, show, showPart } from "../context.ts";
import { ago, bounded, duration, number, roughly, UNKNOWN } from "../format.ts";
import { href, html, type Content, type Html } from "../html.ts";
import { ROOT } from "../layout.ts";
import { table } from "../parts.ts";
import type { Status, StepStatus } from "../status.ts";
import { verdictOf, type Finding, type Level } from "../verdict.ts";
import { nowMs } from "../../../platform/clock.ts";

/** The state of the service: a verdict, the stages, the workers, the servers. */
export const overviewPage: readonly Route[] = [
  route({
    ...PAGE,
    path: ROOT,
    handler: async ({ response }, services) => {
      const status = await services.status.status();
      show(services, response, {
        title: "Overview",
        section: "Overview",
        live: true,
        body: html`<h1 class="unseen">Overview</h1>
          <div id="live" hx-get="${ROOT}/live" hx-trigger="every 2s">${live(status)}</div>
          ${services.queues && plots()}`,
      });
    },
  }),
  route({
    ...PAGE,
    path: `${ROOT}/live`,
    handler: async ({ response }, { status }) => showPart(response, live(await status.status())),
  }),
  route({
    ...PAGE,
    path: `${ROOT}/history`,
    handler: async ({ response }, { status }) => response.json(await status.history()),
  }),
];

/** The parts of the page that update themselves. */
function live(status: Status): Html {
  const { steps, workers } = status;
  return html`${verdict(status)}
    <section aria-labelledby="steps">
      <h2 id="steps">Stages</h2>
      ${table({
        caption: "Orders and throughput by stage",
        rows: steps,
        id: ({ name }) => `step-${name}`,
        columns: [
          { title: "Stage", heading: true, cell: ({ name }) => name },
          ...(status.redis ? queueColumns : []),
          { title: "Waiting", numeric: true, cell: waiting },
          { title: "Failed", numeric: true, cell: failed },
          { title: "Oldest", numeric: true, cell: oldest },
          ...(status.redis ? paceColumns : []),
        ],
      })}
    </section>
    <div class="columns">
      ${status.redis && workerSection(workers)}
      <section aria-labelledby="servers">
        <h2 id="servers">Servers</h2>
        <ul class="plain">
          ${server("MySQL", status.mysql)}${status.redis && server("Redis", status.redis)}
        </ul>
      </section>
    </div>`;
}

const SIGNS: Readonly<Record<Level, string>> = { good: "✓", attention: "!", bad: "✕" };

function verdict(status: Status): Html {
  const { level, others, ...first } = verdictOf(status);
  return html`<div id="verdict" class="verdict ${level}" role="status">
    <p><span class="sign" aria-hidden="true">${SIGNS[level]}</span> ${finding(first)}</p>
    ${
      others.length > 0 &&
      html`<ul>
        ${others.map((other) => html`<li>${finding(other)}</li>`)}
      </ul>`
    }
  </div>`;
}

/** Renders a finding, linked to the page where an operator can act on it. */
function finding({ text, to }: Pick<Finding, "text" | "to">): Content {
  return to === undefined ? text : html`<a href="${ROOT}${to}">${text}</a>`;
}

const queueColumns = [
  { title: "Queued", numeric: true, cell: ({ queue }: StepStatus) => known(queue?.waiting) },
  { title: "Active", numeric: true, cell: ({ active }: StepStatus) => known(active) },
  { title: "Delayed", numeric: true, cell: ({ queue }: StepStatus) => known(queue?.delayed) },
] as const;

const paceColumns = [
  {
    title: "Jobs/min",
    numeric: true,
    cell: ({ pace }: StepStatus) =>
      known(pace && (pace.perMinute < 10 ? pace.perMinute : Math.round(pace.perMinute))),
  },
  {
    title: "p95",
    numeric: true,
    cell: ({ pace }: StepStatus) => (pace?.p95Ms === undefined ? UNKNOWN : duration(pace.p95Ms)),
  },
] as const;

function known(value: number | undefined): Content {
  return value === undefined ? UNKNOWN : number(value);
}

function failed({ failed: count }: StepStatus): Content {
  if (count === undefined) return UNKNOWN;
  if (count.count === 0) return "0";
  return html`<a class="bad" href="${`${ROOT}/failures`}">${bounded(count)}</a>`;
}

/** For somebody else to act. */
function waiting({ name, waiting: count }: StepStatus): Content {
  if (count === undefined) return UNKNOWN;
  if (count.count === 0) return "0";
  return html`<a href="${href(`${ROOT}/orders`, { waiting: `in ${name}` })}">${bounded(count)}</a>`;
}

function oldest({ oldest: order }: StepStatus): Content {
  if (order === undefined) return html`<span class="muted" aria-label="none">–</span>`;
  const waits = nowMs() - order.since.getTime();
  return html`<a href="${ROOT}/orders/${order.id}">${waits < 1_000 ? "< 1 s" : duration(roughly(waits))}</a>`;
}

function workerSection(workers: readonly Heartbeat[] | undefined): Html {
  return html`<section aria-labelledby="workers">
    <h2 id="workers">Workers${workers && html` <span class="muted">${workers.length}</span>`}</h2>
    ${
      workers === undefined
        ? html`<p class="muted">Unknown while Redis does not answer.</p>`
        : html`<ul class="plain">
            ${workers.map(worker)}
          </ul>`
    }
  </section>`;
}

/** Labels for a breaker's state. */
const TROUBLES = {
  away: "breaker open",
  misconfigured: "not set up right",
  "half open": "breaker half open",
  failing: "orders failing",
} as const;

function worker({ id, host, pid, startedAt, steps, open }: Heartbeat): Html {
  const held = steps.reduce((sum, step) => sum + step.held, 0);
  return html`<li id="worker-${id}">
    <b>${host}</b> <span class="muted">process ${String(pid)}, started ${ago(new Date(startedAt))}</span
    ><br />
    ${number(held)} active in ${steps.map(({ name }) => name).join(", ")}
    ${open.map(
      ({ stage, service, trouble = "away" }) =>
        html`<span class="badge warn"
          >${TROUBLES[trouble]}: ${stage}${service === null ? "" : `, ${service}`}</span
        >`,
    )}
  </li>`;
}

function server(name: string, { ready, detail }: Check): Html {
  const withoutName = detail.startsWith(`${name} `) ? detail.slice(name.length + 1) : detail;
  return html`<li>
    <span class="sign ${ready ? "good" : "bad"}" aria-hidden="true">${ready ? SIGNS.good : SIGNS.bad}</span>
    <b>${name}</b>
    <span class="${ready && "muted"}">${ready ? "is ready" : "is not ready"}: ${withoutName}</span>
  </li>`;
}

/** Placeholders for the plots that the page's script draws; without it, the table has the latest values. */
function plots(): Html {
  const plot = (name: string, title: string) =>
    html`<figure>
      <figcaption>${title}</figcaption>
      <div
        class="plot"
        data-plot="${name}"
        role="img"
        aria-label="${title}: a plot; the table of stages has the latest values"
      ></div>
    </figure>`;
  return html`<section aria-labelledby="hour" class="plots" id="plots" data-history="${ROOT}/history" hidden>
    <h2 id="hour">Last hour <span class="muted">UTC</span></h2>
    <p class="legend" id="legend"></p>
    <div class="columns">${plot("done", "Jobs per minute")}${plot("p95", "Job duration, p95")}</div>
  </section>`;
}
