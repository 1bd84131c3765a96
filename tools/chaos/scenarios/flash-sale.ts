import type { Check } from "../audit.ts";
import type { Evidence } from "../evidence.ts";
import { steadyLoad } from "../load.ts";
import type { ChaosOptions } from "../options.ts";
import { makeRush } from "../orders.ts";
import { between, shuffled, stream } from "../random.ts";
import type { Script } from "../run.ts";
import { numbered, type PlannedFault } from "../schedule.ts";
import { grouped } from "../../shared/text.ts";

const SKU = "FLASH-SALE";
/** From one kill to the next. */
const KILL_EVERY_MS = [1_500, 4_000] as const;

/** Everybody wants one product, of which there are few, while workers are killed at random. */
export function flashSale(options: ChaosOptions): Script {
  const orders = makeRush({ count: options.orders, seed: options.seed, sku: SKU });
  return {
    goods: [{ sku: SKU, onHand: options.units }],
    async play({ customers, saboteur, signal }) {
      await Promise.all([
        steadyLoad(customers, orders, options.lengthMs, signal),
        saboteur.carryOut(planKills(options)),
      ]);
      return (evidence) => [
        ["pieces there were", grouped(options.units)],
        ["sold", grouped(sold(evidence))],
        ["workers killed", grouped(saboteur.injected.length)],
      ];
    },
    checks: (evidence) => [everyPieceSold(evidence, options)],
  };
}

function planKills({ seed, lengthMs, workers }: ChaosOptions): PlannedFault[] {
  const random = stream(seed, "kills");
  const names = numbered("worker", workers);
  const kills: PlannedFault[] = [];
  for (let at = between(random, KILL_EVERY_MS); at < lengthMs; at += between(random, KILL_EVERY_MS)) {
    // Not the one that has hardly started again.
    const others = names.filter((name) => workers === 1 || !kills.at(-1)?.targets.includes(name));
    const targets = shuffled(random, others).slice(0, 1);
    kills.push({ number: kills.length + 1, name: "worker-killed", targets, at, lasts: 0 });
  }
  return kills;
}

/** Not one too few, either: who comes while there is something gets it. */
function everyPieceSold(evidence: Evidence, { orders, units }: ChaosOptions): Check {
  const due = Math.min(orders, units);
  const found = sold(evidence);
  return {
    promise: "every piece is sold, and none twice",
    looked: found,
    of: "orders delivered",
    breaches: found === due ? [] : [`${found} were sold, not ${due}`],
  };
}

function sold({ orders }: Evidence): number {
  return orders.filter(({ status }) => status === "DELIVERED").length;
}
