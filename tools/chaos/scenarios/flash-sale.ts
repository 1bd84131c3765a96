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
/** Milliseconds from one kill to the next. */
const KILL_EVERY_MS = [1_500, 4_000] as const;

/** Everybody wants the same scarce product, while workers are killed at random. */
export function flashSale(options: ChaosOptions): Script {
  const orders = makeRush({ count: options.orders, seed: options.seed, sku: SKU });
  return {
    goods: [{ sku: SKU, onHand: options.units }],
    async play({ customers, saboteur, signal }) {
      await Promise.all([
        steadyLoad(customers, orders, options.lengthMs, signal),
        saboteur.injectAll(planKills(options)),
      ]);
      return (evidence) => [
        ["units in stock", grouped(options.units)],
        ["sold", grouped(sold(evidence))],
        ["workers killed", grouped(saboteur.injected.length)],
      ];
    },
    checks: (evidence) => [everyUnitSold(evidence, options)],
  };
}

function planKills({ seed, lengthMs, workers }: ChaosOptions): PlannedFault[] {
  const random = stream(seed, "kills");
  const names = numbered("worker", workers);
  const kills: PlannedFault[] = [];
  for (let at = between(random, KILL_EVERY_MS); at < lengthMs; at += between(random, KILL_EVERY_MS)) {
    // Not the one that has just restarted.
    const others = names.filter((name) => workers === 1 || !kills.at(-1)?.targets.includes(name));
    const targets = shuffled(random, others).slice(0, 1);
    kills.push({ number: kills.length + 1, name: "worker-killed", targets, at, lasts: 0 });
  }
  return kills;
}

/** Checks that not too few were sold either: an order placed while there is stock must get it. */
function everyUnitSold(evidence: Evidence, { orders, units }: ChaosOptions): Check {
  const due = Math.min(orders, units);
  const found = sold(evidence);
  return {
    promise: "every unit is sold exactly once",
    checked: found,
    of: "orders delivered",
    breaches: found === due ? [] : [`${found} were sold instead of ${due}`],
  };
}

function sold({ orders }: Evidence): number {
  return orders.filter(({ status }) => status === "DELIVERED").length;
}
