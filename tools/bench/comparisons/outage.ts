import { setTimeout as delay } from "node:timers/promises";
import { number } from "../../chaos/sql.ts";
import { percentile } from "../../shared/percentile.ts";
import { setProviderState, type ProviderSwitch } from "../../../db/provider-states.ts";
import { Failure } from "../../shared/failure.ts";
import type { LoadResult, Sample } from "../load/messages.ts";
import type { BenchReport, OutageSecond, OutageSide } from "../report.ts";
import { Closers, type Context } from "../context.ts";
import { Shop } from "../shop.ts";
import { spreadOf } from "../statistics.ts";
import { known, NAMES, SYNC } from "../variants.ts";
import { acceptedOf } from "./accept.ts";

/** The latency of a struggling inventory service. */
const SLOW_MS = 200;
const POLL_EVERY_MS = 100;
const WARM_UP_MS = 2_000;
/** Milliseconds for all orders to finish after the load. */
const PATIENCE_MS = 120_000;

interface Phase {
  readonly phase: string;
  readonly inventory: ProviderSwitch;
  readonly ms: number;
}

interface Side {
  readonly name: string;
  readonly shop: Shop;
  /** Whether every accepted order must be delivered in the end. */
  readonly isQueued: boolean;
  readonly results: LoadResult[];
  /** Orders delivered during the warm-up. */
  before: number;
}

/**
 * What clients notice of an inventory that is slow, then down, then back: with a queue and without, side by
 * side.
 */
export async function outage({
  testBed,
  sizes,
  signal,
  note,
}: Context): Promise<NonNullable<BenchReport["outage"]>> {
  const { repeats, perSecond, healthyMs, slowMs, downMs, backMs, probeMs } = sizes.outage;
  const phases: readonly Phase[] = [
    { phase: "healthy", inventory: "up", ms: healthyMs },
    { phase: "slow", inventory: { slowMs: SLOW_MS }, ms: slowMs },
    { phase: "down", inventory: "down", ms: downMs },
    { phase: "back", inventory: "up", ms: backMs },
  ];
  const lengthMs = phases.reduce((sum, { ms }) => sum + ms, 0);
  const closers = new Closers();
  try {
    const sides = await Promise.all([
      openSide(NAMES.conveyor, { PROBE_INTERVAL_MS: String(probeMs) }, true),
      ...known([SYNC]).map(({ name, env }) => openSide(name, env, false)),
    ]);
    const queued = sides.filter(({ isQueued }) => isQueued);
    await Promise.all(sides.map(({ shop }) => load(shop, Math.min(WARM_UP_MS, lengthMs))));
    await settle(queued);
    for (const side of sides) side.before = await countDelivered(side.shop);
    const drained: number[] = [];
    const backlogs: number[] = [];
    for (let repeat = 0; repeat < repeats; repeat++) {
      const loads = sides.map(({ shop }) => load(shop, lengthMs));
      const [recovery] = await Promise.all([
        runPhases(sides, queued),
        ...sides.map(async ({ results }, index) => {
          const result = await loads[index];
          if (result) results.push(result);
        }),
      ]);
      await settle(queued);
      const seconds = await recovery.drained;
      drained.push(seconds);
      backlogs.push(recovery.backlog);
      note(
        `outage ${repeat + 1}: a backlog of ${recovery.backlog} orders, drained ${seconds.toFixed(1)} s after the inventory was back`,
      );
    }
    const [conveyor] = sides;
    if (conveyor === undefined) throw new Error("nothing was measured");
    return {
      perSecond,
      inventoryMs: SLOW_MS,
      probeMs,
      phases: spans(phases).map(({ phase, from, to }) => ({ phase, from: from / 1_000, to: to / 1_000 })),
      sides: await Promise.all(sides.map((side) => summaryOf(side, phases))),
      backlogGoneAfter: drained,
      backlog: backlogs,
      p99WhileDownToHealthy: spreadOf(
        conveyor.results.map(
          ({ samples }) => p99In(samples, phases, "down") / p99In(samples, phases, "healthy"),
        ),
      ),
    };
  } finally {
    await closers.close();
  }

  async function openSide(
    name: string,
    env: Readonly<Record<string, string>>,
    isQueued: boolean,
  ): Promise<Side> {
    const shop = closers.add(
      await Shop.open(testBed, { name: isQueued ? "outage" : "outage-sync", env }),
      (opened) => opened.close(),
    );
    await shop.startApi();
    if (isQueued) await shop.startWorkers();
    return { name, shop, isQueued, results: [], before: 0 };
  }

  function load(shop: Shop, ms: number): Promise<LoadResult> {
    return testBed.load.run({ kind: "steady", ...shop.target(), perSecond, ms });
  }

  /** @returns the backlog when the inventory was back, and the seconds until it was drained */
  async function runPhases(
    sides: readonly Side[],
    queued: readonly Side[],
  ): Promise<{ readonly backlog: number; readonly drained: Promise<number> }> {
    let backlog = 0;
    let drained: Promise<number> = Promise.resolve(0);
    let wasDown = false;
    for (const { phase, inventory, ms } of phases) {
      note(`outage: inventory ${phase}`);
      const began = performance.now();
      const [first] = queued;
      const isBack = wasDown && inventory === "up";
      if (isBack && first) backlog = await countOpen(first.shop);
      for (const { shop } of sides) await setProviderState(shop.database, "inventory", inventory);
      if (isBack && first) {
        drained = untilDrained(first.shop, new Date());
        // It is awaited later.
        drained.catch(() => {});
      }
      wasDown = inventory === "down";
      await delay(Math.max(0, ms - (performance.now() - began)), undefined, { signal });
    }
    return { backlog, drained };
  }

  /** Seconds until every order placed by then is delivered. */
  async function untilDrained(shop: Shop, then: Date): Promise<number> {
    const deadline = then.getTime() + PATIENCE_MS;
    while ((await countOpen(shop, then)) > 0) {
      if (Date.now() > deadline)
        throw new Failure(`the backlog has not drained: ${await countOpen(shop, then)} orders`);
      await delay(POLL_EVERY_MS, undefined, { signal });
    }
    return (Date.now() - then.getTime()) / 1_000;
  }

  async function settle(queued: readonly Side[]): Promise<void> {
    for (const { shop } of queued) await untilDrained(shop, new Date());
  }
}

async function countDelivered(shop: Shop): Promise<number> {
  const [row] = await shop.sql.rows("SELECT COUNT(*) AS delivered FROM orders WHERE status = 'DELIVERED'");
  return number(row?.["delivered"]);
}

/** Uses the index on status, since few orders are open. */
async function countOpen(shop: Shop, until = new Date()): Promise<number> {
  const [row] = await shop.sql.rows(
    `SELECT COUNT(*) AS open FROM orders
      WHERE status IN ('CREATED', 'RESERVED', 'PAID', 'SHIPPED') AND created_at <= ?`,
    [until],
  );
  return number(row?.["open"]);
}

function spans(phases: readonly Phase[]): { phase: string; from: number; to: number }[] {
  let at = 0;
  return phases.map(({ phase, ms }) => ({ phase, from: at, to: (at += ms) }));
}

async function summaryOf(
  { name, shop, isQueued, results, before }: Side,
  phases: readonly Phase[],
): Promise<OutageSide> {
  const samples = results.flatMap((result) => result.samples);
  const accepted = results.reduce((sum, { all }) => sum + acceptedOf(all), 0);
  const delivered = (await countDelivered(shop)) - before;
  if (isQueued && delivered !== accepted)
    throw new Failure(`${name}: ${accepted} orders were accepted but ${delivered} delivered`);
  return {
    name,
    seconds: secondsOf(samples, phases.reduce((sum, { ms }) => sum + ms, 0) / 1_000),
    phases: spans(phases).map(({ phase }) => {
      const within = samplesIn(samples, phases, phase);
      return {
        phase,
        p50: timeOf(within, 0.5) ?? 0,
        p99: timeOf(within, 0.99) ?? 0,
        failedShare: within.filter((sample) => !isAccepted(sample)).length / Math.max(1, within.length),
      };
    }),
    accepted,
    delivered,
  };
}

function secondsOf(samples: readonly Sample[], length: number): OutageSecond[] {
  return Array.from({ length: Math.ceil(length) }, (_, second) => {
    const within = samples.filter(({ at }) => Math.floor(at / 1_000) === second);
    return {
      second,
      sent: within.length,
      failed: within.filter((sample) => !isAccepted(sample)).length,
      p50: timeOf(within, 0.5),
      p99: timeOf(within, 0.99),
    };
  });
}

function samplesIn(samples: readonly Sample[], phases: readonly Phase[], name: string): Sample[] {
  const span = spans(phases).find(({ phase }) => phase === name);
  return samples.filter(({ at }) => span && at >= span.from && at < span.to);
}

function p99In(samples: readonly Sample[], phases: readonly Phase[], name: string): number {
  return timeOf(samplesIn(samples, phases, name), 0.99) ?? Number.NaN;
}

function timeOf(samples: readonly Sample[], part: number): number | null {
  const times = samples.map(({ tookMs }) => tookMs).toSorted((a, b) => a - b);
  return times.length === 0 ? null : percentile(times, part);
}

function isAccepted({ status }: Sample): boolean {
  return status === 201 || status === 202;
}
