import { setTimeout as delay } from "node:timers/promises";
import type { Context } from "../context.ts";
import { Failure } from "../../shared/failure.ts";
import { startProviders, type Fault, type Providers } from "../../simulators/providers.ts";
import { acceptedOf, type LoadResult } from "../load/messages.ts";
import type { OutageSide, ResultOf } from "../report.ts";
import { Shop } from "../shop.ts";
import type { Sizes } from "../sizes.ts";
import { spreadOf } from "../statistics.ts";
import { CONVEYOR, SYNC, type Mode } from "../variants.ts";
import { p99In, phaseOf, secondsOf, type Span } from "./samples.ts";

/** The latency of a struggling inventory service. */
const SLOW_MS = 200;
const POLL_EVERY_MS = 100;
const WARM_UP_MS = 2_000;
/** Milliseconds for all orders to finish after the load. */
const PATIENCE_MS = 120_000;

interface Phase extends Span {
  readonly inventory: Fault;
}

interface Side {
  readonly name: string;
  readonly shop: Shop;
  readonly results: LoadResult[];
  /** Orders delivered during the warm-up. */
  before: number;
}

type Sides = readonly [conveyor: Side, synchronous: Side];

/** The orders that waited when the inventory was back, and the seconds until they were delivered. */
interface Recovery {
  readonly backlog: number;
  readonly drainedAfter: number;
}

/**
 * What clients notice of an inventory that is slow, then down, then back: with a queue and without, side by
 * side.
 */
export async function outage(context: Context): Promise<ResultOf<"outage">> {
  const { repeats, perSecond, probeMs } = context.sizes.outage;
  const phases = phasesIn(context.sizes.outage);
  const providers = context.closers.add(await startProviders(), (started) => started.close());
  const sides = await openSides(context, providers, probeMs);
  const [conveyor] = sides;
  await warmUp(context, sides, Math.min(WARM_UP_MS, lengthOf(phases)));
  const recoveries: Recovery[] = [];
  for (let round = 1; round <= repeats; round++) {
    const recovery = await goThrough(context, providers, sides, phases);
    recoveries.push(recovery);
    const after = `${recovery.drainedAfter.toFixed(1)} s after the inventory was back`;
    context.note(`outage ${round}: a backlog of ${recovery.backlog} orders, drained ${after}`);
  }
  return {
    perSecond,
    inventoryMs: SLOW_MS,
    probeMs,
    phases: phases.map(({ phase, from, to }) => ({ phase, from: from / 1_000, to: to / 1_000 })),
    sides: [await summaryOf(conveyor, phases, true), await summaryOf(sides[1], phases, false)],
    backlogGoneAfter: recoveries.map(({ drainedAfter }) => drainedAfter),
    backlog: recoveries.map(({ backlog }) => backlog),
    p99WhileDownToHealthy: spreadOf(
      conveyor.results.map(
        ({ samples }) => p99In(samples, phases, "down") / p99In(samples, phases, "healthy"),
      ),
    ),
  };
}

function phasesIn({ healthyMs, slowMs, downMs, backMs }: Sizes["outage"]): readonly Phase[] {
  let at = 0;
  const lasting = (ms: number) => ({ from: at, to: (at += ms) });
  return [
    { phase: "healthy", inventory: { kind: "none" }, ...lasting(healthyMs) },
    { phase: "slow", inventory: { kind: "slow", ms: SLOW_MS }, ...lasting(slowMs) },
    { phase: "down", inventory: { kind: "down" }, ...lasting(downMs) },
    { phase: "back", inventory: { kind: "none" }, ...lasting(backMs) },
  ];
}

async function openSides(context: Context, providers: Providers, probeMs: number): Promise<Sides> {
  const open = async ({ name, env }: Mode, more: Mode["env"] = {}): Promise<Side> => {
    const shop = await Shop.open(context, {
      name: "outage",
      env: { ...env, INVENTORY_SIMULATOR_URL: providers.inventoryUrl, ...more },
    });
    await shop.startApi();
    return { name, shop, results: [], before: 0 };
  };
  const conveyor = await open(CONVEYOR, { PROBE_INTERVAL_MS: String(probeMs) });
  await conveyor.shop.startWorkers();
  return [conveyor, await open(SYNC)];
}

async function warmUp(context: Context, sides: Sides, ms: number): Promise<void> {
  await Promise.all(sides.map((side) => load(context, side, ms)));
  await untilDrained(context, sides[0]);
  for (const side of sides) side.before = await countDelivered(side);
}

function load({ testBed, sizes }: Context, { shop }: Side, ms: number): Promise<LoadResult> {
  return testBed.load.run({ kind: "steady", ...shop.target(), perSecond: sizes.outage.perSecond, ms });
}

/** Loads both sides while the inventory goes through its phases. */
async function goThrough(
  context: Context,
  providers: Providers,
  sides: Sides,
  phases: readonly Phase[],
): Promise<Recovery> {
  const loads = sides.map(async (side) => side.results.push(await load(context, side, lengthOf(phases))));
  const [recovery] = await Promise.all([switchInventory(context, providers, sides, phases), ...loads]);
  await untilDrained(context, sides[0]);
  return recovery;
}

async function switchInventory(
  context: Context,
  providers: Providers,
  sides: Sides,
  phases: readonly Phase[],
): Promise<Recovery> {
  const began = performance.now();
  let recovery = { backlog: 0, drainedAfter: 0 };
  for (const { phase, inventory, to } of phases) {
    context.note(`outage: inventory ${phase}`);
    const backlog = await sides[0].shop.orders.countOpen();
    providers.setFault("inventory", inventory);
    const [drainedAfter] = await Promise.all([
      phase === "back" ? untilDrained(context, sides[0]) : 0,
      delay(Math.max(0, to - (performance.now() - began)), undefined, { signal: context.signal }),
    ]);
    recovery = { backlog, drainedAfter };
  }
  return recovery;
}

/** @returns seconds until every order placed by now is delivered. @throws {Failure} if one is not */
async function untilDrained({ signal }: Context, { shop }: Side): Promise<number> {
  const now = new Date();
  for (;;) {
    const open = await shop.orders.countOpen(now);
    const ms = Date.now() - now.getTime();
    if (open === 0) return ms / 1_000;
    if (ms > PATIENCE_MS) throw new Failure(`the backlog has not drained: ${open} orders`);
    await delay(POLL_EVERY_MS, undefined, { signal });
  }
}

async function countDelivered({ shop }: Side): Promise<number> {
  return (await shop.orders.count()) - (await shop.orders.countOpen());
}

/** @param isQueued whether every accepted order must have been delivered. @throws {Failure} if one was not */
async function summaryOf(side: Side, phases: readonly Phase[], isQueued: boolean): Promise<OutageSide> {
  const samples = side.results.flatMap((result) => result.samples);
  const accepted = side.results.reduce((sum, { all }) => sum + acceptedOf(all), 0);
  const delivered = (await countDelivered(side)) - side.before;
  if (isQueued && delivered !== accepted)
    throw new Failure(`${side.name}: ${accepted} orders were accepted but ${delivered} delivered`);
  return {
    name: side.name,
    seconds: secondsOf(samples, lengthOf(phases) / 1_000),
    phases: phases.map((phase) => phaseOf(samples, phase)),
    accepted,
    delivered,
  };
}

function lengthOf(phases: readonly Phase[]): number {
  return phases.at(-1)?.to ?? 0;
}
