import { setTimeout as delay } from "node:timers/promises";
import { percentile } from "../../shared/percentile.ts";
import { grouped } from "../../shared/text.ts";
import { Transport } from "../../shared/transport.ts";
import { DEFAULT_SETTINGS } from "../../../src/order/stage.ts";
import type { Check } from "../audit.ts";
import type { EventRow, Evidence } from "../evidence.ts";
import { API_KEY } from "../line.ts";
import { steadyLoad } from "../load.ts";
import type { ChaosOptions, PoisonedCall } from "../options.ts";
import { makeRush, type ChaosOrder } from "../orders.ts";
import { stream } from "../random.ts";
import type { Finding, Scene, Script } from "../run.ts";
import { number } from "../sql.ts";

const SKU = "POISONED";
/** The first part of the load has no poisoned orders: what the others are held against. */
const CALM_SHARE = 1 / 3;
const LOOK_EVERY_MS = 200;
/** Median and 95th percentile of the others may be so many times what they are without poisoned orders. */
const MOST_TIMES = 2;
/** Suspected orders may have this part of a stage's places. */
const MOST_PLACES = 1 / 4;

/** Between which statuses an order moves by a call of a provider; cancelling begins with the customer's wish. */
const MOVES: Record<PoisonedCall, { readonly from: string; readonly to: string }> = {
  pay: { from: "RESERVED", to: "PAID" },
  ship: { from: "PAID", to: "SHIPPED" },
  track: { from: "SHIPPED", to: "DELIVERED" },
  refund: { from: "cancel", to: "CANCELLED" },
};

/** An order is undone in whatever step comes to it first: pay, ship or cancel, each with places of its own. */
const STEPS: Record<PoisonedCall, number> = { pay: 1, ship: 1, track: 1, refund: 3 };

type Phase = "calm" | "poisoned" | "resumed";

/**
 * Some orders that nobody can serve, beside others, at an even rate. First there are none of them; then a share of the
 * orders is poisoned; when those have come to rest they are all resumed, beside further orders. At last they are served.
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
      const { customers, signal, note, line } = scene;
      const watching = new AbortController();
      const watch = watchSuspects(scene, most, AbortSignal.any([signal, watching.signal]));
      await steadyLoad(customers, calm, calmMs, signal);
      note(`from now on ${(options.share * 100).toFixed(0)} % of the orders are poisoned`);
      await steadyLoad(customers, mixed, options.lengthMs - calmMs, signal);
      await customers.idle();
      note("the poisoned orders come to rest");
      await untilRest(scene, options.patienceMs);
      const resumed = await resume(scene);
      note(`resumed ${resumed} orders that had failed, beside further orders`);
      await steadyLoad(customers, late, calmMs, signal);
      await customers.idle();
      watching.abort();
      await watch;
      line.providers.heal();
      note("from now on all orders are served");
      await untilNoneRests(scene, options.patienceMs);
      return (evidence) => [
        ["the poisoned call", `${options.call} ${options.poison}, ${options.customers}`],
        ["poisoned orders", `${mixed.filter(({ key }) => !phaseOf.get(key)).length} of ${mixed.length}`],
        ["resumed orders", grouped(resumed)],
        ...times(evidence, options, phaseOf),
        ["the most suspected orders at the provider at once", grouped(most.suspects)],
      ];
    },
    checks: (evidence) => [
      othersAsFast(evidence, options, phaseOf),
      {
        promise: "suspected orders have a quarter of a stage's places at most",
        looked: most.suspects,
        of: "orders at once",
        breaches:
          most.suspects <=
          STEPS[options.call] * options.workers * Math.floor(DEFAULT_SETTINGS.concurrency * MOST_PLACES)
            ? []
            : [`${most.suspects} at once`],
      },
    ],
  };
}

/** All orders, and the phase that each of those belongs to that can be served. */
function makeAll(options: ChaosOptions, phaseOf: Map<string, Phase | undefined>) {
  const { seed, share, call, poison } = options;
  const calmCount = Math.ceil(options.orders * CALM_SHARE);
  const made = makeRush({ count: options.orders + calmCount, seed, sku: SKU });
  const random = stream(seed, "poison");
  // As many as asked for, at chance places.
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

/** Looks how many calls a provider has before it that were made before. */
async function watchSuspects(
  { line }: Scene,
  most: { suspects: number },
  signal: AbortSignal,
): Promise<void> {
  while (!signal.aborted) {
    for (const provider of ["payments", "carrier"] as const)
      most.suspects = Math.max(most.suspects, line.providers.takeMostRepeatedAtOnce(provider));
    await delay(LOOK_EVERY_MS, undefined, { signal }).catch(() => undefined);
  }
}

async function untilRest({ line, signal }: Scene, patienceMs: number): Promise<void> {
  const deadline = Date.now() + patienceMs;
  while (Date.now() < deadline) {
    const [row] = await line.sql.rows(
      "SELECT COUNT(*) AS moving FROM orders WHERE failed_stage IS NULL AND status NOT IN ('DELIVERED', 'CANCELLED')",
    );
    if (number(row?.["moving"]) === 0) return;
    await delay(LOOK_EVERY_MS, undefined, { signal });
  }
}

async function untilNoneRests(scene: Scene, patienceMs: number): Promise<void> {
  const deadline = Date.now() + patienceMs;
  while (Date.now() < deadline) {
    await resume(scene);
    const [row] = await scene.line.sql.rows(
      "SELECT COUNT(*) AS live FROM orders WHERE status NOT IN ('DELIVERED', 'CANCELLED')",
    );
    if (number(row?.["live"]) === 0) return;
    await delay(5 * LOOK_EVERY_MS, undefined, { signal: scene.signal });
  }
}

/** Has all failed orders go on. @returns how many there were. */
async function resume({ line: { apiUrls } }: Scene): Promise<number> {
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

/** Milliseconds that the orders of a phase took for the move, those of the poisoned left out. */
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
      return with_ <= MOST_TIMES * without
        ? []
        : [`${NAMES[phase]}: ${with_.toFixed(0)} ms, and ${without.toFixed(0)} ms without, at ${part}`];
    });
  });
  return {
    promise: `the others take ${MOST_TIMES} times as long at most, by median and p95`,
    looked: phaseOf.size,
    of: "orders",
    breaches: slower,
  };
}
