import { mkdirSync, renameSync, writeFileSync } from "node:fs";
import path from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { number } from "../chaos/sql.ts";
import { freePort } from "../launcher/ports.ts";
import { findPrometheus, startPrometheus, type Prometheus } from "../launcher/servers/prometheus.ts";
import { numberOption, readArguments } from "../shared/options.ts";
import { table } from "../shared/table.ts";
import { runAsProcess, type Terminal } from "../shared/terminal.ts";
import { Autoscaler, readRules, type Rules } from "./autoscaler/rules.ts";
import { closing, type Closers } from "./context.ts";
import { acceptedOf } from "./load/messages.ts";
import type { BenchProcess } from "./process.ts";
import { Shop } from "./shop.ts";
import { TestBed } from "./test-bed.ts";

/** What payment provider and carrier take, so that it is workers that are short, and not this machine's CPU. */
const PROVIDER_MS = 500;
/** Orders of a stage that a worker processes at once. */
const CONCURRENCY = 5;
/** The parts of the day in which the rate stays the same. */
const PARTS = 48;
/** The night's share of the busiest hour, and what a flash sale makes of that hour. */
const NIGHT = 0.15;
const SALE = 4;
/** When the sale is: in the afternoon, as parts of the day. */
const SALE_PARTS = new Set([30, 31]);
/** Seconds between two scrapes, as the ServiceMonitor has it. */
const SCRAPE_SECONDS = 15;

/** One part of the day. */
interface Part {
  readonly perSecond: number;
  /** The most workers in it, and the greatest age in seconds of an order that waited. */
  workers: number;
  oldest: number;
  atHand: number;
}

/**
 * `node --import tsx tools/bench/autoscaling.ts [--minutes N] [--peak N] [--speed N]`: a day with a flash sale in so many minutes,
 * whose busiest hour has so many orders a second, while worker processes start and stop as KEDA would have it: by the queries, thresholds, paces and delays of deploy/kubernetes, asked of
 * a real Prometheus. Prints for each part of the day how many workers there were and how old the oldest order was. Fails if an
 * order is lost or an attempt is used up.
 *
 * `--speed` divides all delays: only to see that everything works.
 */
async function autoscaling(
  args: readonly string[],
  terminal: Terminal,
  signal: AbortSignal,
): Promise<number> {
  const { values } = readArguments("tools/bench/autoscaling", {
    args: [...args],
    options: {
      minutes: { type: "string", default: "40" },
      peak: { type: "string", default: "25" },
      speed: { type: "string", default: "1" },
    },
  });
  const minutes = numberOption("minutes", values.minutes, { least: 0.5, most: 1_440, isWhole: false });
  const peak = numberOption("peak", values.peak, { least: 1, most: 1_000 });
  const speed = numberOption("speed", values.speed, { least: 1, most: 60 });
  const rules = readRules(speed);
  const day = dayOf(peak);
  return closing(async (closers) => {
    const testBed = closers.add(await TestBed.open(signal), async (bed) => void (await bed.close(false)));
    const env = { METRICS_PORT: "0", PROVIDER_LATENCY_MS: String(PROVIDER_MS), STAGE_ATTEMPTS: "1" };
    const shop = await Shop.open({ testBed, closers }, { name: "autoscaling", env });
    await shop.startApi();
    const workers = await Workers.start(shop, rules.least);
    const scraped = await scraping(closers, testBed.folder, { shop, workers, speed });
    const state = { part: day[0]! };
    const over = new AbortController();
    const scaling = scale({ rules, scraped, workers, state, over: over.signal, terminal });
    let accepted = 0;
    let sent = 0;
    try {
      for (const part of day) {
        signal.throwIfAborted();
        state.part = part;
        part.workers = workers.count;
        const ms = (minutes * 60_000) / PARTS;
        const load = { kind: "steady", perSecond: part.perSecond, ms } as const;
        const { all } = await testBed.load.run({ ...load, ...shop.target() });
        accepted += acceptedOf(all);
        sent += Object.values(all).reduce((sum, count) => sum + count, 0);
      }
      await shop.untilDelivered(signal);
      while (workers.count > rules.least) await delay(rules.everyMs, undefined, { signal });
    } finally {
      over.abort();
      await scaling;
    }
    for (const line of table(
      ["Hour", "Orders/s", "Workers", "Oldest order", "Orders at hand"],
      day.map(({ perSecond, workers: most, oldest, atHand }, index) => [
        `${String(Math.floor((index * 24) / PARTS)).padStart(2, "0")}:${index % 2 === 0 ? "00" : "30"}`,
        String(perSecond),
        String(most),
        `${oldest.toFixed(0)} s`,
        String(Math.round(atHand)),
      ]),
    ))
      terminal.say(line);
    return told(shop, { sent, accepted, workers }, terminal);
  });
}

/** The rates of a day whose busiest hour has so many orders a second, which a sale exceeds. */
function dayOf(peak: number): Part[] {
  return Array.from({ length: PARTS }, (_, index) => {
    // Least at four in the morning, most at four in the afternoon.
    const swing = (1 - Math.cos((2 * Math.PI * (index - PARTS / 6)) / PARTS)) / 2;
    const rate = peak * (SALE_PARTS.has(index) ? SALE : NIGHT + (1 - NIGHT) * swing);
    return { perSecond: Math.max(1, Math.round(rate)), workers: 0, oldest: 0, atHand: 0 };
  });
}

/** A shop's workers, of which the newest stops first, as a ReplicaSet's pods do. */
class Workers {
  /** Worker processes that were started and stopped. */
  started = 0;
  stopped = 0;
  readonly #shop: Shop;
  readonly #running: BenchProcess[] = [];
  readonly #changing = new Set<Promise<void>>();
  /** Called when others run. */
  onChange: () => void = () => undefined;

  private constructor(shop: Shop) {
    this.#shop = shop;
  }

  static async start(shop: Shop, count: number): Promise<Workers> {
    const workers = new Workers(shop);
    workers.become(count);
    await workers.settled();
    return workers;
  }

  /** Those that take orders. */
  get running(): readonly BenchProcess[] {
    return this.#running;
  }

  /** Those that run, start and stop as of now. */
  count = 0;

  /** Starts or stops some, without waiting for it. */
  become(count: number): void {
    for (; this.count < count; this.count++) this.#change(this.#startOne());
    for (; this.count > count; this.count--) this.#change(this.#stopOne());
  }

  async settled(): Promise<void> {
    while (this.#changing.size > 0) await Promise.all(this.#changing);
  }

  #change(change: Promise<void>): void {
    const done = change.finally(() => this.#changing.delete(done));
    this.#changing.add(done);
  }

  async #startOne(): Promise<void> {
    this.started++;
    this.#running.push(...(await this.#shop.startWorkers(1, ["--concurrency", String(CONCURRENCY)])));
    this.onChange();
  }

  async #stopOne(): Promise<void> {
    const newest = this.#running.pop();
    this.onChange();
    if (newest === undefined) return;
    this.stopped++;
    await this.#shop.stopWorker(newest);
  }
}

/** A Prometheus that scrapes the API and all workers there are. */
async function scraping(
  closers: Closers,
  folder: string,
  { shop, workers, speed }: { readonly shop: Shop; readonly workers: Workers; readonly speed: number },
): Promise<Prometheus> {
  const home = path.join(folder, "prometheus");
  mkdirSync(home);
  const targets = path.join(home, "targets.json");
  workers.onChange = () => {
    const addresses = [shop.api, ...workers.running].map(
      ({ ready }) => new URL(String(ready["metrics"])).host,
    );
    // Prometheus must not read half of it.
    writeFileSync(`${targets}.new`, JSON.stringify([{ targets: addresses }]));
    renameSync(`${targets}.new`, targets);
  };
  workers.onChange();
  const config = path.join(home, "prometheus.yml");
  writeFileSync(
    config,
    [
      `global: { scrape_interval: ${(SCRAPE_SECONDS * 1_000) / speed}ms, scrape_timeout: ${1_000 / Math.min(speed, 4)}ms }`,
      "scrape_configs:",
      "  - job_name: conveyor",
      `    file_sd_configs: [{ files: [${JSON.stringify(targets)}] }]`,
      "",
    ].join("\n"),
  );
  const tools = await findPrometheus();
  return closers.add(
    await startPrometheus(tools, { config, folder: home, port: await freePort() }),
    (opened) => opened.close(),
  );
}

/** Asks Prometheus, and starts and stops workers, until it is over. */
async function scale({
  rules,
  scraped,
  workers,
  state,
  over,
  terminal,
}: {
  readonly rules: Rules;
  readonly scraped: Prometheus;
  readonly workers: Workers;
  readonly state: { readonly part: Part };
  readonly over: AbortSignal;
  readonly terminal: Terminal;
}): Promise<void> {
  const autoscaler = new Autoscaler(rules);
  while (!over.aborted) {
    const values = new Map<string, number>();
    for (const { name, query } of rules.triggers) {
      const value = await valueOf(scraped, query).catch(() => undefined);
      if (value !== undefined) values.set(name, value);
    }
    const before = workers.count;
    workers.become(autoscaler.decide(performance.now(), before, values));
    if (workers.count !== before)
      terminal.note(`${before} -> ${workers.count} workers: ${JSON.stringify(Object.fromEntries(values))}`);
    const { part } = state;
    part.workers = Math.max(part.workers, workers.count);
    part.atHand = Math.max(part.atHand, values.get("orders") ?? 0);
    part.oldest = Math.max(part.oldest, (await valueOf(scraped, OLDEST).catch(() => 0)) ?? 0);
    await delay(rules.everyMs, undefined, { signal: over }).catch(() => undefined);
  }
  await workers.settled();
}

const OLDEST = 'max(conveyor_oldest_order_age_seconds{stage!="deliver"})';

/** The number that a query gives: 0 if there is none, as KEDA takes it. @throws {Error} if Prometheus doesn't answer */
async function valueOf(prometheus: Prometheus, query: string): Promise<number> {
  const { result } = await prometheus.ask<{ result: readonly { value: readonly [number, string] }[] }>(
    `/api/v1/query?query=${encodeURIComponent(query)}`,
  );
  return Number(result[0]?.value[1] ?? 0);
}

/** @returns the exit code: 1 if something was lost */
async function told(
  { sql, orders }: Shop,
  {
    sent,
    accepted,
    workers,
  }: { readonly sent: number; readonly accepted: number; readonly workers: Workers },
  terminal: Terminal,
): Promise<number> {
  const [row] = await sql.rows(
    `SELECT (SELECT COUNT(*) FROM orders WHERE status = 'DELIVERED') AS delivered,
      (SELECT COUNT(*) FROM order_events WHERE type IN ('attempt-failed', 'failed')) AS failures`,
  );
  const [all, delivered, failures] = [
    await orders.count(),
    number(row?.["delivered"]),
    number(row?.["failures"]),
  ];
  terminal.say(
    `${sent} orders sent, ${accepted} accepted, ${delivered} delivered, ${failures} attempts failed; ` +
      `${workers.started} workers started, ${workers.stopped} stopped on the way`,
  );
  return all === accepted && delivered === accepted && failures === 0 ? 0 : 1;
}

void runAsProcess(autoscaling);
