import { percentile } from "../shared/percentile.ts";
import { table } from "../shared/table.ts";
import { counted, grouped, printable } from "../shared/text.ts";
import { countBreaches, type Check } from "./audit.ts";
import { KINDS } from "./kinds.ts";
import type { Recovery } from "./recovery.ts";
import type { ReportedFault, RunReport } from "./run.ts";
import type { PlannedFault } from "./schedule.ts";

const EXAMPLES = 5;

/** Renders the report; the verdict is the last line. */
export function renderReport(report: RunReport): string[] {
  const { checks, findings, ownEnds, logFolder } = report;
  const broken = countBreaches(checks);
  return [
    titleOf(report),
    ...section("Faults", faultLines(report)),
    ...section("Measured", aligned(findings)),
    ...section("Counts", aligned(countsOf(report))),
    ...section(
      "Processes that exited without being killed",
      ownEnds.map((end) => printable(end)),
    ),
    ...section("Audit", checks.flatMap(checkLines)),
    "",
    ...(broken === 0 ? [] : [`the processes' logs: ${logFolder}`]),
    broken === 0 ? "passed" : counted(broken, "breach", "breaches"),
  ];
}

/** Renders the planned faults. */
export function renderPlan(plan: readonly PlannedFault[]): string[] {
  return table(
    ["#", "at", "fault", "hits", "for", "meaning"],
    plan.map(({ number, at, name, targets, lasts }) => [
      String(number),
      seconds(at),
      name,
      hits({ targets }),
      seconds(lasts),
      KINDS[name].meaning,
    ]),
  );
}

/** The report as JSON: times in milliseconds, and all breaches. */
export function jsonOf(report: RunReport): string {
  const { options, versions, faults, findings, checks, beganAt, settledAfterMs, ownEnds } = report;
  const document = {
    options,
    versions,
    beganAt: new Date(beganAt).toISOString(),
    settledAfterMs: settledAfterMs ?? null,
    faults: faults.map(({ fault: { number, name, targets, startedAt, endedAt, trouble }, recovery }) => ({
      number,
      name,
      targets,
      trouble,
      startedAfterMs: startedAt - beganAt,
      lastedMs: endedAt - startedAt,
      inFlight: recovery.inFlight,
      recoveryMs: recovery.tookMs ?? null,
      recoveryUnbrokenMs: recovery.unbrokenMs ?? null,
      slowestOrder: recovery.slowest,
    })),
    measured: Object.fromEntries(findings),
    counts: Object.fromEntries(countsOf(report)),
    endedByThemselves: ownEnds,
    checks,
    breaches: countBreaches(checks),
  };
  return `${JSON.stringify(document, null, 2)}\n`;
}

function titleOf({ options, versions }: RunReport): string {
  const { scenario, orders, lengthMs, seed, apis, workers } = options;
  return (
    `${scenario}: ${counted(orders, "order")} in ${seconds(lengthMs)}, seed ${seed}, ` +
    `${counted(apis, "API")}, ${counted(workers, "worker")}, ${versions.mysql}, ${versions.redis}, Node ${versions.node.slice(1)}`
  );
}

function faultLines({ faults, beganAt }: RunReport): string[] {
  if (faults.length === 0) return [];
  const rows = faults.map(({ fault: { name, targets, startedAt, endedAt, trouble }, recovery }, index) => [
    String(index + 1),
    seconds(startedAt - beganAt),
    name,
    hits({ targets }),
    seconds(endedAt - startedAt),
    grouped(recovery.inFlight),
    secondsOrNever(recovery.tookMs),
    secondsOrNever(recovery.unbrokenMs),
    trouble === undefined ? "" : printable(trouble),
  ]);
  return table(["#", "at", "fault", "hit", "lasted", "in flight", "recovered", "net", ""], rows);
}

function countsOf(report: RunReport): [string, string][] {
  const { ledger, evidence, faults, settledAfterMs } = report;
  const answered = ledger.attempts.filter(({ status }) => status !== undefined);
  const refused = answered.filter(({ status }) => status === 503);
  const times = answered.map(({ tookMs }) => tookMs).toSorted((a, b) => a - b);
  const ended = [...ledger.accepted.values()].flatMap(({ id, acceptedAt, endedAt }) =>
    endedAt === undefined ? [] : [{ id, took: endedAt - acceptedAt }],
  );
  const slowest = ended.reduce((most, each) => (each.took > most.took ? each : most), { id: "", took: 0 });
  return [
    ["customers", grouped(ledger.sent.size)],
    ["accepted", grouped(ledger.accepted.size)],
    ["  delivered", grouped(evidence.orders.filter(({ status }) => status === "DELIVERED").length)],
    ["  cancelled", grouped(evidence.orders.filter(({ status }) => status === "CANCELLED").length)],
    ...reasonsOf(report),
    ["requests to place an order", grouped(ledger.attempts.length)],
    ["  repeated", grouped(ledger.attempts.filter(({ isRepeat }) => isRepeat).length)],
    ["  answered with 503", grouped(refused.length)],
    ["    slowest", seconds(Math.max(0, ...refused.map(({ tookMs }) => tookMs)))],
    ["  without an answer", grouped(ledger.attempts.length - answered.length)],
    ["  repeated 202s identical to the first", grouped(ledger.repeated202s - ledger.contradictions.length)],
    [
      "  answer time, p50 and p99",
      `${percentile(times, 0.5).toFixed(1)} and ${percentile(times, 0.99).toFixed(1)} ms`,
    ],
    ["cancellations accepted", grouped(ledger.cancelled.size)],
    ["cancellations too late", grouped(ledger.tooLate)],
    ["faults", grouped(faults.length)],
    ["longest recovery", longestRecovery(faults, ({ tookMs }) => tookMs)],
    ["  without time under other faults", longestRecovery(faults, ({ unbrokenMs }) => unbrokenMs)],
    ["longest time from 202 to end", `${seconds(slowest.took)} (${slowest.id})`],
    ["time after the load until every order ended", secondsOrNever(settledAfterMs)],
  ];
}

function longestRecovery(
  faults: readonly ReportedFault[],
  timeOf: (recovery: Recovery) => number | undefined,
): string {
  const time = ({ recovery }: ReportedFault) => timeOf(recovery) ?? Infinity;
  const [longest] = faults.toSorted((a, b) => time(b) - time(a));
  return longest ? `${secondsOrNever(timeOf(longest.recovery))}, from ${longest.fault.name}` : "-";
}

function reasonsOf({ evidence }: RunReport): [string, string][] {
  const reasons = new Map<string, number>();
  for (const { status, cancelReason } of evidence.orders) {
    if (status !== "CANCELLED") continue;
    const reason = cancelReason?.split(":", 1)[0] ?? "no reason";
    reasons.set(reason, (reasons.get(reason) ?? 0) + 1);
  }
  return [...reasons]
    .toSorted(([, a], [, b]) => b - a)
    .map(([reason, count]) => [`    ${printable(reason)}`, grouped(count)]);
}

function checkLines({ promise, checked, of, breaches }: Check): string[] {
  if (breaches.length === 0) return [`ok      ${promise} (${grouped(checked)} ${of})`];
  const more = breaches.length - EXAMPLES;
  return [
    `BREACH  ${promise}: ${grouped(breaches.length)} (of ${grouped(checked)} ${of})`,
    ...breaches.slice(0, EXAMPLES).map((breach) => `          ${printable(breach)}`),
    ...(more > 0 ? [`          and ${grouped(more)} more`] : []),
  ];
}

function hits({ targets }: Pick<PlannedFault, "targets">): string {
  return targets.length > 2 ? `${targets.length} of them` : targets.join(", ");
}

function seconds(milliseconds: number): string {
  return `${(milliseconds / 1_000).toFixed(1)} s`;
}

function secondsOrNever(milliseconds: number | undefined): string {
  return milliseconds === undefined ? "never" : seconds(milliseconds);
}

function section(title: string, lines: readonly string[]): string[] {
  return lines.length === 0 ? [] : ["", title, ...lines.map((line) => `  ${line}`)];
}

function aligned(entries: readonly (readonly [string, string])[]): string[] {
  const labels = Math.max(0, ...entries.map(([label]) => label.length));
  return entries.map(([label, value]) => `${label.padEnd(labels)}  ${value}`);
}
