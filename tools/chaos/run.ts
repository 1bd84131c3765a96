import { setTimeout as delay } from "node:timers/promises";
import { Transport } from "../shared/transport.ts";
import type { Terminal } from "../shared/terminal.ts";
import { counted, grouped } from "../shared/text.ts";
import { Failure } from "../shared/failure.ts";
import { audit, noAttemptLost, type Check } from "./audit.ts";
import { Customers } from "./customers.ts";
import { countJobs, gatherEvidence, type Evidence } from "./evidence.ts";
import { Saboteur, type InjectedFault } from "./faults.ts";
import { Ledger } from "./ledger.ts";
import {
  API_KEY,
  startDeployment,
  type Deployment,
  type EasyPostTrouble,
  type StripeTrouble,
} from "./deployment.ts";
import type { ChaosOptions } from "./options.ts";
import type { Goods } from "./orders.ts";
import { shuffled, stream } from "./random.ts";
import { recoveryOf, type Recovery } from "./recovery.ts";
import { number, Sql } from "./sql.ts";
import { Watch } from "./watch.ts";

const PROGRESS_EVERY_MS = 10_000;
const POLL_EVERY_MS = 500;
/** Give up once nothing has been left to do for this long. */
const STUCK_AFTER_MS = 10_000;
/** The share of customers who repeat their request at the end. */
const REPEATED_SHARE = 0.02;
const FEWEST_REPEATED = 20;
/** SKUs per stock request. */
const STOCK_PAGE = 1_000;

/** What a scenario works with: the system under test, its customers and its saboteur. */
export interface Scene {
  readonly deployment: Deployment;
  readonly ledger: Ledger;
  readonly customers: Customers;
  readonly saboteur: Saboteur;
  readonly options: ChaosOptions;
  readonly signal: AbortSignal;
  /** Prints a line about the run. */
  readonly note: (line: string) => void;
}

/** A measurement: label and value. */
export type Finding = readonly [label: string, value: string];

/** A scenario's setup, actions and checks. */
export interface Script {
  readonly goods: readonly Goods[];
  /** Milliseconds until a parcel is delivered. */
  readonly transitMs?: number;
  /** Whether MySQL has a replica to fail over to. */
  readonly hasStandby?: boolean;
  /** Whether the pipeline has a stage over HTTP, whose service and network are unreliable. */
  readonly hasHttpStage?: boolean;
  /** Whether the simulated Stripe takes the payments, and how it misbehaves all the time. */
  readonly stripe?: StripeTrouble;
  /** Whether the simulated EasyPost is the carrier, and how it misbehaves all the time. */
  readonly easypost?: EasyPostTrouble;
  /**
   * Applies load and injects faults. When it returns, everything is repaired; orders may still be in progress.
   *
   * @returns a function that computes the findings from the evidence, once all orders have ended
   */
  readonly play: (scene: Scene) => Promise<(evidence: Evidence) => Finding[] | Promise<Finding[]>>;
  /** Checks for this scenario only. */
  readonly checks?: (evidence: Evidence) => Check[];
}

/** A fault and the recovery from it. */
export interface ReportedFault {
  readonly fault: InjectedFault;
  readonly recovery: Recovery;
}

/** The results of a run. */
export interface RunReport {
  readonly options: ChaosOptions;
  readonly versions: { readonly mysql: string; readonly redis: string; readonly node: string };
  /** When the load began, milliseconds since 1970. */
  readonly beganAt: number;
  /** Milliseconds from the end of the load until every accepted order had ended; undefined if some never did. */
  readonly settledAfterMs: number | undefined;
  readonly faults: readonly ReportedFault[];
  readonly findings: readonly Finding[];
  readonly checks: readonly Check[];
  readonly ledger: Ledger;
  readonly evidence: Evidence;
  /** Processes that exited without being killed: `worker-1: exit code 1`. */
  readonly ownEnds: readonly string[];
  readonly logFolder: string;
}

/** Runs a scenario on a new deployment and audits the result. @throws when aborted. @throws {Failure} */
export async function run(
  script: Script,
  options: ChaosOptions,
  terminal: Terminal,
  signal: AbortSignal,
): Promise<RunReport> {
  const providerRandom = stream(options.seed, "providers");
  terminal.note(
    `starting MySQL, Redis, ${counted(options.apis, "API")} and ${counted(options.workers, "worker")}`,
  );
  const deployment = await startDeployment({
    apis: options.apis,
    workers: options.workers,
    isSplit: options.isSplit,
    payLimit: options.payLimit,
    hasStandby: script.hasStandby ?? false,
    httpStageSeed: script.hasHttpStage ? options.seed : undefined,
    random: () => providerRandom.below(2 ** 32) / 2 ** 32,
    stripe: script.stripe,
    easypost: script.easypost,
    ...(script.transitMs === undefined ? {} : { transitMs: script.transitMs }),
  });
  let isClean = false;
  try {
    const report = await playOn(deployment, script, options, terminal, signal);
    isClean = report.checks.every(({ breaches }) => breaches.length === 0);
    return report;
  } finally {
    await deployment.close(!isClean && !signal.aborted);
  }
}

async function playOn(
  deployment: Deployment,
  script: Script,
  options: ChaosOptions,
  terminal: Terminal,
  signal: AbortSignal,
): Promise<RunReport> {
  const ledger = new Ledger();
  const loaded = new Map(script.goods.map(({ sku, onHand }) => [sku, onHand]));
  const customers = new Customers({
    apiUrls: deployment.apiUrls,
    ledger,
    random: stream(options.seed, "customers"),
    signal,
  });
  let beganAt = Date.now();
  const since = () => `${((Date.now() - beganAt) / 1_000).toFixed(1).padStart(6)} s`;
  const note = (text: string) => terminal.note(`${since()}  ${text}`);
  const saboteur = new Saboteur(deployment, signal, (fault) => {
    const seconds = ((fault.endedAt - fault.startedAt) / 1_000).toFixed(1);
    note(
      `${fault.name} (${fault.targets.join(", ")}) lasted ${seconds} s${fault.trouble ? `: ${fault.trouble}` : ""}`,
    );
  });
  // A separate connection: it is used at any time, and needs snapshots.
  const watchedBy = new Sql(deployment.databaseUrl);
  const watch = new Watch(watchedBy, ledger, loaded);
  const stopWatch = new AbortController();
  let watching: Promise<void> | undefined;
  const progress = setInterval(() => note(progressOf(ledger)), PROGRESS_EVERY_MS);
  try {
    signal.throwIfAborted();
    await loadStock(deployment, script.goods);
    beganAt = Date.now();
    watching = watch.run(AbortSignal.any([signal, stopWatch.signal]));
    const findingsOf = await script.play({ deployment, ledger, customers, saboteur, options, signal, note });
    const loadEndedAt = Date.now();
    note(`the load is over: ${progressOf(ledger)}`);
    const isSettled = await untilSettled({
      deployment,
      ledger,
      customers,
      patienceMs: options.patienceMs,
      signal,
    });
    const settledAfterMs = isSettled ? lastEnd(ledger) - loadEndedAt : undefined;
    note(isSettled ? "every order has ended" : `gave up waiting: ${progressOf(ledger)}`);
    await repeatSome(customers, ledger, options.seed);
    stopWatch.abort();
    await watching;
    // A last sample, with everything settled.
    await watch.sample();
    const evidence = await gatherEvidence(deployment.sql, deployment.observerRedis, {
      books: deployment.books(),
      loaded,
      customers: ledger,
      samples: watch,
    });
    return {
      options,
      versions: { mysql: deployment.mysql.version, redis: deployment.redis.version, node: process.version },
      beganAt,
      settledAfterMs: settledAfterMs === undefined ? undefined : Math.max(0, settledAfterMs),
      faults: saboteur.injected
        .toSorted((a, b) => a.startedAt - b.startedAt)
        .map((fault) => ({ fault, recovery: recoveryOf(fault, saboteur.injected, evidence.events) })),
      findings: await findingsOf(evidence),
      checks: [
        ...audit(evidence),
        noAttemptLost(evidence, saboteur.injected),
        ...(script.checks?.(evidence) ?? []),
      ],
      ledger,
      evidence,
      ownEnds: [...deployment.apis, ...deployment.workers].flatMap(({ name, ownEnds }) =>
        ownEnds.map((end) => `${name}: ${end}`),
      ),
      logFolder: deployment.logFolder,
    };
  } finally {
    clearInterval(progress);
    customers.close();
    stopWatch.abort();
    await watching;
    watchedBy.close();
  }
}

/** Loads the stock before any fault. @throws {Failure} */
async function loadStock(deployment: Deployment, goods: readonly Goods[]): Promise<void> {
  const [url] = deployment.apiUrls;
  if (url === undefined) throw new Failure("there is no API");
  const transport = new Transport(url, 1);
  for (let start = 0; start < goods.length; start += STOCK_PAGE) {
    const answer = await transport.send({
      method: "POST",
      path: "/stock",
      headers: { authorization: `Bearer ${API_KEY}` },
      body: JSON.stringify({ items: goods.slice(start, start + STOCK_PAGE) }),
    });
    if (answer.status !== 200) throw new Failure(`loading the stock failed: ${answer.status} ${answer.text}`);
  }
  transport.close();
}

/**
 * Waits until every request is answered, every order has ended and no job is left. @returns whether that
 * happened
 */
async function untilSettled({
  deployment,
  ledger,
  customers,
  patienceMs,
  signal,
}: Pick<Scene, "deployment" | "ledger" | "customers" | "signal"> & {
  readonly patienceMs: number;
}): Promise<boolean> {
  const deadline = Date.now() + patienceMs;
  let stuckSince: number | undefined;
  while (Date.now() < deadline) {
    const jobs = await countJobs(deployment.observerRedis);
    // MySQL may be away for a moment.
    const refunds = await countPendingRefunds(deployment).catch(() => undefined);
    const hasJobs = [...jobs].some(([what, count]) => count > 0 && !what.endsWith(" failed"));
    const { open } = ledger;
    if (!hasJobs && open.length === 0 && customers.waiting === 0 && refunds === 0) return true;
    const failed = await countFailed(deployment).catch(() => undefined);
    const isStuck = !hasJobs && customers.waiting === 0 && open.length === failed;
    stuckSince = isStuck ? (stuckSince ?? Date.now()) : undefined;
    if (stuckSince !== undefined && Date.now() - stuckSince > STUCK_AFTER_MS) return false;
    await delay(POLL_EVERY_MS, undefined, { signal });
  }
  return false;
}

async function countPendingRefunds(deployment: Deployment): Promise<number> {
  const [row] = await deployment.sql.rows("SELECT COUNT(*) AS pending FROM refunds WHERE state = 'PENDING'");
  return number(row?.["pending"]);
}

/** Counts failed orders, which wait for an operator. */
async function countFailed(deployment: Deployment): Promise<number> {
  const [row] = await deployment.sql.rows(
    "SELECT COUNT(*) AS failed FROM orders WHERE failed_stage IS NOT NULL",
  );
  return number(row?.["failed"]);
}

/** Lets some customers repeat their request after their order has ended. */
async function repeatSome(customers: Customers, ledger: Ledger, seed: number): Promise<void> {
  const accepted = [...ledger.accepted.values()];
  const count = Math.max(FEWEST_REPEATED, Math.round(accepted.length * REPEATED_SHARE));
  for (const order of shuffled(stream(seed, "repeats"), accepted).slice(0, count)) customers.repeat(order);
  await customers.idle();
}

function lastEnd(ledger: Ledger): number {
  let last = 0;
  for (const { endedAt } of ledger.accepted.values()) last = Math.max(last, endedAt ?? 0);
  return last;
}

function progressOf(ledger: Ledger): string {
  return `${grouped(ledger.sent.size)} sent, ${grouped(ledger.accepted.size)} accepted, ${grouped(ledger.open.length)} in progress`;
}
