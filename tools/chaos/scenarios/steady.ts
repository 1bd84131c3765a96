import { steadyLoad } from "../load.ts";
import type { ChaosOptions } from "../options.ts";
import { makeGoods, makeOrders } from "../orders.ts";
import type { Script } from "../run.ts";
import { planFaults } from "../schedule.ts";

/** Faults of every kind under a steady load. */
export function steady(options: ChaosOptions): Script {
  const goods = makeGoods(options.orders);
  const orders = makeOrders({ count: options.orders, seed: options.seed, goods });
  const plan = planFaults(options);
  return {
    goods,
    async play({ customers, saboteur, signal }) {
      await Promise.all([steadyLoad(customers, orders, options.lengthMs, signal), saboteur.injectAll(plan)]);
      return () => [];
    },
  };
}
