import { setTimeout as delay } from "node:timers/promises";
import { percentile } from "../../shared/percentile.ts";
import { grouped } from "../../shared/text.ts";
import { Transport } from "../../shared/transport.ts";
import { DEFAULT_SETTINGS } from "../../../src/order/stage.ts";
import type { Check } from "../audit.ts";
import type { EventRow, Evidence } from "../evidence.ts";
import { API_KEY } from "../deployment.ts";
import { steadyLoad } from "../load.ts";
import type { ChaosOptions, PoisonedCall } from "../options.ts";
import { makeRush, type ChaosOrder } from "../orders.ts";
import { stream } from "../random.ts";
import type { Finding, Scene, Script } from "../run.ts";
import { number } from "../sql.ts";

const SKU = "POISONED";
/** The first part of the load has no poisoned orders and serves as the baseline. */
const CALM_SHARE = 1 / 3;
const LOOK_EVERY_MS = 200;
/** Median and 95th percentile of the other orders may be at most this many times the baseline. */
const MAX_SLOWDOWN = 2;
/** Suspected orders may take at most this share of a stage's places. */
const SUSPECT_SHARE = 1 / 4;

/** The transition that a provider's call makes; cancelling starts with the customer's request. */
const MOVES: Record<PoisonedCall, { readonly from: string; readonly to: string }> = {
  pay: { from: "RESERVED", to: "PAID" },
  ship: { from: "PAID", to: "SHIPPED" },
  track: { from: "SHIPPED", to: "DELIVERED" },
  refund: { from: "cancel", to: "CANCELLED" },
};

/** The queues that may make the call. An order is undone by whichever picks it up first: pay, ship or cancel. */
const QUEUES: Record<PoisonedCall, number> = { pay: 1, ship: 1, track: 1, refund: 3 };

type Phase = "calm" | "poisoned" | "resumed";

/**
 * Places poisoned orders among others, at a steady rate. At first no orders are poisoned, then a share of them.
 * Once those have failed, they are all resumed while further orders arrive. Finally the poisoning ends.
 */
export function poisoned(options: ChaosOptions): Script {
  const phaseOf = new Map<string, Phase | undefined>();
  const orders = makeAll(options, phaseOf);
  const { calm, mixed, late } = orders;
  const calmMs = options.lengthMs * CALM_SHARE;
  const most = { suspects: 0 };
  return {
    goods: [{ sku: SKU, onHand: 10 * options.orders }],
    async play(scene) {
      const { customers, signal, note, deployment } = scene;
      const watching = new AbortController();
      const watch = watchSuspects(scene, most, AbortSignal.any([signal, watching.signal]));
      await steadyLoad(customers, calm, calmMs, signal);
      note(`from now on ${(options.share * 100).toFixed(0)} % of the orders are poisoned`);
      await steadyLoad(customers, mixed, options.lengthMs - calmMs, signal);
      await customers.idle();
      note("waiting for the poisoned orders to fail");
      await untilSettled(scene, options.patienceMs);
      const resumed = await resume(scene);
      note(`resumed ${resumed} failed orders while further orders arrive`);
      await steadyLoad(customers, late, calmMs, signal);
      await customers.idle();
      watching.abort();
      await watch;
      deployment.providers.heal();
      note("the poisoning has ended");
      await untilAllEnded(scene, options.patienceMs);
      return (evidence) => [
        ["the poisoned call", `${options.call} ${options.poison}, ${options.customers}`],
        ["poisoned orders", `${mixed.filter(({ key }) => !phaseOf.get(key)).length} of ${mixed.length}`],
        ["resumed orders", grouped(resumed)],
        ...times(evidence, options, phaseOf),
        ["most suspected orders at the provider at once", grouped(most.suspects)],
      ];
    },
    checks: (evidence) => [
      othersAsFast(evidence, options, phaseOf),
      {
        promise: "suspected orders take at most a quarter of a stage's places",
        checked: most.suspects,
        of: "orders at once",
        breaches:
          most.suspects <=
          QUEUES[options.call] * options.workers * Math.floor(DEFAULT_SETTINGS.concurrency * SUSPECT_SHARE)
            ? []
            : [`${most.suspects} at once`],
      },
    ],
  };
}

/** Makes all orders, and records the phase of each that is not poisoned. */
function makeAll(options: ChaosOptions, phaseOf: Map<string, Phase | undefined>) {
  const { seed, share, call, poison } = options;
  const calmCount = Math.ceil(options.orders * CALM_SHARE);
  const made = makeRush({ count: options.orders + calmCount, seed, sku: SKU });
  const random = stream(seed, "poison");
  // Exactly as many as asked for, at random positions.
  const chances = made.map(() => random.below(2 ** 32));
  const rank = new Map(
    chances
      .map((chance, index) => ({ chance, index }))
      .slice(calmCount, options.orders)
      .toSorted((a, b) => a.chance - b.chance)
      .map(({ index }, place) => [index, place]),
  );
  const count = Math.round((options.orders - calmCount) * share);
  const all: ChaosOrder[] = [];
  for (const [index, { key, request, isTwice }] of made.entries()) {
    const isPoisoned = (rank.get(index) ?? Infinity) < count;
    const phase = index < calmCount ? "calm" : index < options.orders ? "poisoned" : "resumed";
    phaseOf.set(key, isPoisoned ? undefined : phase);
    all.push({
      key,
      request: {
        ...request,
        ...(isPoisoned && { paymentToken: `tok_${call}_${poison}` }),
        ...(isPoisoned && options.customers === "one" && { customerId: "cust-poisoned" }),
      },
      cancelAfter: call === "refund" ? 0 : undefined,
      isTwice,
    });
  }
  return {
    calm: all.slice(0, calmCount),
    mixed: all.slice(calmCount, options.orders),
    late: all.slice(options.orders),
  };
}

/** Samples how many repeated calls are in flight at a provider. */
async function watchSuspects(
  { deployment }: Scene,
  most: { suspects: number },
  signal: AbortSignal,
): Promise<void> {
  while (!signal.aborted) {
    for (const provider of ["payments", "carrier"] as const)
      most.suspects = Math.max(most.suspects, deployment.providers.takeMaxRepeatedInFlight(provider));
    await delay(LOOK_EVERY_MS, undefined, { signal }).catch(() => undefined);
  }
}

async function untilSettled({ deployment, signal }: Scene, patienceMs: number): Promise<void> {
  const deadline = Date.now() + patienceMs;
  while (Date.now() < deadline) {
    const [row] = await deployment.sql.rows(
      "SELECT COUNT(*) AS moving FROM orders WHERE failed_stage IS NULL AND status NOT IN ('DELIVERED', 'CANCELLED')",
    );
    if (number(row?.["moving"]) === 0) return;
    await delay(LOOK_EVERY_MS, undefined, { signal });
  }
}

async function untilAllEnded(scene: Scene, patienceMs: number): Promise<void> {
  const deadline = Date.now() + patienceMs;
  while (Date.now() < deadline) {
    await resume(scene);
    const [row] = await scene.deployment.sql.rows(
      "SELECT COUNT(*) AS live FROM orders WHERE status NOT IN ('DELIVERED', 'CANCELLED')",
    );
    if (number(row?.["live"]) === 0) return;
    await delay(5 * LOOK_EVERY_MS, undefined, { signal: scene.signal });
  }
}

/** Resumes all failed orders. @returns how many there were */
async function resume({ deployment: { apiUrls } }: Scene): Promise<number> {
  const [url] = apiUrls;
  if (url === undefined) return 0;
  const transport = new Transport(url, 1);
  const { text } = await transport.send({
    method: "POST",
    path: "/orders/resume",
    headers: { authorization: `Bearer ${API_KEY}` },
    body: "{}",
  });
  transport.close();
  const answer: { resumed?: number } = JSON.parse(text);
  return answer.resumed ?? 0;
}

/** Milliseconds that the orders of a phase took for the transition, without poisoned ones. */
function tookIn(
  { events, customers }: Evidence,
  { call }: ChaosOptions,
  phaseOf: ReadonlyMap<string, Phase | undefined>,
  phase: Phase,
): number[] {
  const { from, to } = MOVES[call];
  const reached = (status: string) =>
    new Map(events.filter((event: EventRow) => event.to === status).map(({ orderId, at }) => [orderId, at]));
  const began = from === "cancel" ? customers.cancelled : reached(from);
  const ended = reached(to);
  return [...customers.accepted.values()]
    .filter(({ order }) => phaseOf.get(order.key) === phase)
    .flatMap(({ id }) => {
      const [since, until] = [began.get(id), ended.get(id)];
      return since === undefined || until === undefined ? [] : [Math.max(0, until - since)];
    })
    .toSorted((a, b) => a - b);
}

function times(
  evidence: Evidence,
  options: ChaosOptions,
  phaseOf: ReadonlyMap<string, Phase | undefined>,
): Finding[] {
  const { from, to } = MOVES[options.call];
  return (["calm", "poisoned", "resumed"] as const).map((phase) => {
    const took = tookIn(evidence, options, phaseOf, phase);
    const [p50, p95] = [percentile(took, 0.5), percentile(took, 0.95)];
    return [
      `from ${from} to ${to}, ${NAMES[phase]}`,
      `median ${p50.toFixed(0)} ms, p95 ${p95.toFixed(0)} ms, longest ${(took.at(-1) ?? Number.NaN).toFixed(0)} ms (${took.length} orders)`,
    ];
  });
}

const NAMES: Record<Phase, string> = {
  calm: "without poisoned orders",
  poisoned: "beside poisoned orders",
  resumed: "beside resumed orders",
};

function othersAsFast(
  evidence: Evidence,
  options: ChaosOptions,
  phaseOf: ReadonlyMap<string, Phase | undefined>,
): Check {
  const calm = tookIn(evidence, options, phaseOf, "calm");
  const slower = (["poisoned", "resumed"] as const).flatMap((phase) => {
    const took = tookIn(evidence, options, phaseOf, phase);
    return ([0.5, 0.95] as const).flatMap((part) => {
      const [with_, without] = [percentile(took, part), percentile(calm, part)];
      return with_ <= MAX_SLOWDOWN * without
        ? []
        : [
            `${NAMES[phase]}: ${with_.toFixed(0)} ms at ${part}, but ${without.toFixed(0)} ms without poisoned orders`,
          ];
    });
  });
  return {
    promise: `other orders take at most ${MAX_SLOWDOWN} times as long, by median and p95`,
    checked: phaseOf.size,
    of: "orders",
    breaches: slower,
  };
}
