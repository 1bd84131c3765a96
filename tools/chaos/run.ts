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
import { API_KEY, startLine, type Line } from "./line.ts";
import type { ChaosOptions } from "./options.ts";
import type { Goods } from "./orders.ts";
import { shuffled, stream } from "./random.ts";
import { recoveryOf, type Recovery } from "./recovery.ts";
import { number, Sql } from "./sql.ts";
import { Watch } from "./watch.ts";

const PROGRESS_EVERY_MS = 10_000;
const LOOK_EVERY_MS = 500;
/** So long nothing may be left to come before the rest is taken for stuck. */
const STUCK_AFTER_MS = 10_000;
/** The part of the customers who, in the end, send their request once more. */
const REPEATED_SHARE = 0.02;
const FEWEST_REPEATED = 20;
/** SKUs in one stock request. */
const STOCK_PAGE = 1_000;

/** A line under load, and those who use, break and watch it. */
export interface Scene {
  readonly line: Line;
  readonly ledger: Ledger;
  readonly customers: Customers;
  readonly saboteur: Saboteur;
  readonly options: ChaosOptions;
  readonly signal: AbortSignal;
  /** Says something about the run. */
  readonly note: (line: string) => void;
}

/** Something that a scenario measured: a label and a value. */
export type Finding = readonly [label: string, value: string];

/** What is done to the line. */
export interface Script {
  readonly goods: readonly Goods[];
  /** Milliseconds that a parcel is on the road. */
  readonly transitMs?: number;
  /** MySQL has a replica, to fail over to. */
  readonly hasStandby?: boolean;
  /**
   * Puts load on the line and breaks it; at its end everything is mended. The orders may still be on their way.
   *
   * @returns what to tell once they have all ended, from the evidence.
   */
  readonly play: (scene: Scene) => Promise<(evidence: Evidence) => Finding[] | Promise<Finding[]>>;
  /** What has to hold in this scenario only. */
  readonly checks?: (evidence: Evidence) => Check[];
}

/** A fault, and what became of the line after it. */
export interface ReportedFault {
  readonly fault: InjectedFault;
  readonly recovery: Recovery;
}

/** All that a run found out. */
export interface RunReport {
  readonly options: ChaosOptions;
  readonly versions: { readonly mysql: string; readonly redis: string; readonly node: string };
  /** When the load began, milliseconds since 1970. */
  readonly beganAt: number;
  /** Milliseconds from the end of the load until every accepted order had ended; undefined when some never did. */
  readonly settledAfterMs: number | undefined;
  readonly faults: readonly ReportedFault[];
  readonly findings: readonly Finding[];
  readonly checks: readonly Check[];
  readonly ledger: Ledger;
  readonly evidence: Evidence;
  /** Processes that ended though nobody had killed them: `worker-1: exit code 1`. */
  readonly ownEnds: readonly string[];
  readonly logFolder: string;
}

/** Plays a script on a line of its own, and audits what came of it. @throws when it is aborted. @throws {Failure} */
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
  const line = await startLine({
    apis: options.apis,
    workers: options.workers,
    hasStandby: script.hasStandby ?? false,
    random: () => providerRandom.below(2 ** 32) / 2 ** 32,
    ...(script.transitMs === undefined ? {} : { transitMs: script.transitMs }),
  });
  let isClean = false;
  try {
    const report = await playOn(line, script, options, terminal, signal);
    isClean = report.checks.every(({ breaches }) => breaches.length === 0);
    return report;
  } finally {
    await line.close(!isClean && !signal.aborted);
  }
}

async function playOn(
  line: Line,
  script: Script,
  options: ChaosOptions,
  terminal: Terminal,
  signal: AbortSignal,
): Promise<RunReport> {
  const ledger = new Ledger();
  const loaded = new Map(script.goods.map(({ sku, onHand }) => [sku, onHand]));
  const customers = new Customers({
    apiUrls: line.apiUrls,
    ledger,
    random: stream(options.seed, "customers"),
    signal,
  });
  let beganAt = Date.now();
  const since = () => `${((Date.now() - beganAt) / 1_000).toFixed(1).padStart(6)} s`;
  const note = (text: string) => terminal.note(`${since()}  ${text}`);
  const saboteur = new Saboteur(line, signal, (fault) => {
    const seconds = ((fault.endedAt - fault.startedAt) / 1_000).toFixed(1);
    note(
      `${fault.name} (${fault.targets.join(", ")}) lasted ${seconds} s${fault.trouble ? `: ${fault.trouble}` : ""}`,
    );
  });
  // Its own: it asks at any time, and what it adds up must be of one moment.
  const watchedBy = new Sql(line.databaseUrl);
  const watch = new Watch(watchedBy, ledger, loaded);
  const stopLooking = new AbortController();
  let looking: Promise<void> | undefined;
  const progress = setInterval(() => note(progressOf(ledger)), PROGRESS_EVERY_MS);
  try {
    signal.throwIfAborted();
    await loadStock(line, script.goods);
    beganAt = Date.now();
    looking = watch.keepLooking(AbortSignal.any([signal, stopLooking.signal]));
    const tell = await script.play({ line, ledger, customers, saboteur, options, signal, note });
    const loadEndedAt = Date.now();
    note(`the load is over: ${progressOf(ledger)}`);
    const isSettled = await untilSettled({ line, ledger, customers, patienceMs: options.patienceMs, signal });
    const settledAfterMs = isSettled ? lastEnd(ledger) - loadEndedAt : undefined;
    note(isSettled ? "every order has ended" : `given up waiting: ${progressOf(ledger)}`);
    await repeatSome(customers, ledger, options.seed);
    stopLooking.abort();
    await looking;
    // The last look, with everything at rest.
    await watch.look();
    const evidence = await gatherEvidence(line.sql, line.outsideRedis, {
      books: line.providers.books,
      loaded,
      customers: ledger,
      samples: watch,
    });
    return {
      options,
      versions: { mysql: line.mysql.version, redis: line.redis.version, node: process.version },
      beganAt,
      settledAfterMs: settledAfterMs === undefined ? undefined : Math.max(0, settledAfterMs),
      faults: saboteur.injected
        .toSorted((a, b) => a.startedAt - b.startedAt)
        .map((fault) => ({ fault, recovery: recoveryOf(fault, saboteur.injected, evidence.events) })),
      findings: await tell(evidence),
      checks: [
        ...audit(evidence),
        noAttemptLost(evidence, saboteur.injected),
        ...(script.checks?.(evidence) ?? []),
      ],
      ledger,
      evidence,
      ownEnds: [...line.apis, ...line.workers].flatMap(({ name, ownEnds }) =>
        ownEnds.map((end) => `${name}: ${end}`),
      ),
      logFolder: line.logFolder,
    };
  } finally {
    clearInterval(progress);
    customers.close();
    stopLooking.abort();
    await looking;
    watchedBy.close();
    await saboteur.close();
  }
}

/** Tells the service what there is to sell, before anything is broken. @throws {Failure} */
async function loadStock(line: Line, goods: readonly Goods[]): Promise<void> {
  const [url] = line.apiUrls;
  if (url === undefined) throw new Failure("there is no API");
  const transport = new Transport(url, 1);
  for (let start = 0; start < goods.length; start += STOCK_PAGE) {
    const answer = await transport.send({
      method: "POST",
      path: "/stock",
      headers: { authorization: `Bearer ${API_KEY}` },
      body: JSON.stringify({ items: goods.slice(start, start + STOCK_PAGE) }),
    });
    if (answer.status !== 200) throw new Failure(`the stock was not taken: ${answer.status} ${answer.text}`);
  }
  transport.close();
}

/** Waits until every request is answered, every order has ended and no job is left. @returns whether it came to that. */
async function untilSettled({
  line,
  ledger,
  customers,
  patienceMs,
  signal,
}: Pick<Scene, "line" | "ledger" | "customers" | "signal"> & {
  readonly patienceMs: number;
}): Promise<boolean> {
  const deadline = Date.now() + patienceMs;
  let stuckSince: number | undefined;
  while (Date.now() < deadline) {
    const jobs = await countJobs(line.outsideRedis);
    const toCome = [...jobs].some(([what, count]) => count > 0 && !what.endsWith(" failed"));
    const { open } = ledger;
    if (!toCome && open.length === 0 && customers.waiting === 0) return true;
    // A MySQL that does not answer for a moment is no reason to give up.
    const failed = await countFailed(line).catch(() => undefined);
    const isStuck = !toCome && customers.waiting === 0 && open.length === failed;
    stuckSince = isStuck ? (stuckSince ?? Date.now()) : undefined;
    if (stuckSince !== undefined && Date.now() - stuckSince > STUCK_AFTER_MS) return false;
    await delay(LOOK_EVERY_MS, undefined, { signal });
  }
  return false;
}

/** Orders that wait for a person: nothing moves them on by itself. */
async function countFailed(line: Line): Promise<number> {
  const [row] = await line.sql.rows("SELECT COUNT(*) AS failed FROM orders WHERE failed_stage IS NOT NULL");
  return number(row?.["failed"]);
}

/** Some customers press the button once more when their order has long ended. */
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
  return `${grouped(ledger.sent.size)} sent, ${grouped(ledger.accepted.size)} accepted, ${grouped(ledger.open.length)} on their way`;
}
