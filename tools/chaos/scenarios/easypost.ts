import { setTimeout as delay } from "node:timers/promises";
import { grouped } from "../../shared/text.ts";
import { labelsOfMoved } from "../addresses.ts";
import type { Check } from "../audit.ts";
import { steadyLoad } from "../load.ts";
import type { ChaosOptions } from "../options.ts";
import { makeGoods, makeOrders } from "../orders.ts";
import { chance, stream } from "../random.ts";
import type { Script } from "../run.ts";
import { planFaults } from "../schedule.ts";
import { NEW_HOME, Warehouse } from "../warehouse.ts";

/** Long enough that most parcels are called off before the carrier has them. */
const TRANSIT_MS = 15_000;
const BEHAVIOUR = {
  transitMs: TRANSIT_MS,
  refundMs: 3_000,
  refundsRejected: 0.2,
  refundsRefused: 0.2,
  purchasesUnanswered: 0.1,
  parcelsLost: 0.04,
  parcelsReturned: 0.04,
  webhooks: { lost: 0.1, doubled: 0.2, early: 0.2, late: 0.2, lateMs: 3_000 },
};
/** Of the orders, those whose address can't be delivered to. */
const BAD_ADDRESS_SHARE = 0.05;
const SHIP_TO = {
  name: "Elizabeth Swan",
  line1: "179 N Harbor Dr",
  city: "Redondo Beach",
  region: "CA",
  postalCode: "90277",
  country: "US",
};
const EVERY_MS = 300;

/**
 * Faults of every kind under a steady load, with an EasyPost that loses answers to purchases and parcels, loses, doubles and
 * delays webhooks or sends them early, and refuses to take labels back or decides later; with clerks who plan, book and call off the
 * same order's parcels at the same time, and ask for services that nobody offers; and with customers whose address is wrong, who
 * move, and who want money back for a piece.
 */
export function easypost(options: ChaosOptions): Script {
  // Nothing is scarce: what is called off and sold to somebody else meanwhile could not be sent again.
  const onHand = Math.max(...makeGoods(options.orders).map((each) => each.onHand));
  const goods = makeGoods(options.orders).map(({ sku }) => ({ sku, onHand }));
  const orders = makeOrders({ count: options.orders, seed: options.seed, goods });
  const random = stream(options.seed, "addresses");
  for (const { request } of orders)
    request.shipTo = chance(random, BAD_ADDRESS_SHARE) ? { ...SHIP_TO, line1: "Nowhere" } : SHIP_TO;
  let misled: Check | undefined;
  const plan = planFaults(options);
  return {
    goods,
    easypost: BEHAVIOUR,
    async play(scene) {
      const { customers, saboteur, deployment, signal } = scene;
      const warehouse = new Warehouse(scene);
      const closing = new AbortController();
      const working = work(warehouse, AbortSignal.any([signal, closing.signal]));
      await Promise.all([steadyLoad(customers, orders, options.lengthMs, signal), saboteur.injectAll(plan)]);
      return async ({ shipments }) => {
        closing.abort();
        await working;
        const { asked, refused, settled, notOffered, refunds } = warehouse.counts;
        misled = labelsOfMoved(deployment.easypost?.easypost.bought ?? [], warehouse.moved, NEW_HOME.line1);
        const ordersInParts = new Set(
          shipments.filter(({ number }) => number > 1).map((each) => each.orderId),
        );
        const bought = deployment.easypost?.easypost.counts;
        const count = (...states: string[]) =>
          grouped(shipments.filter(({ state }) => states.includes(state)).length);
        return [
          ["label purchases whose answer was lost", grouped(bought?.unanswered ?? 0)],
          ["labels asked for once more, which EasyPost refused", grouped(bought?.boughtAgain ?? 0)],
          ["parcels lost or returned", count("LOST", "RETURNED")],
          ["what clerks asked for", grouped(asked)],
          ["of which was refused", grouped(refused)],
          ["orders with several parcels", grouped(ordersInParts.size)],
          ["parcels called off", count("VOIDED")],
          ["parcels closed by an operator", grouped(settled)],
          ["parcels planned with a service that nobody offers", grouped(notOffered)],
          ["addresses changed on the way", grouped(warehouse.moved.size)],
          ["pieces to be refunded before they are packed", grouped(refunds)],
        ];
      };
    },
    checks: () => (misled ? [misled] : []),
  };
}

async function work(warehouse: Warehouse, over: AbortSignal): Promise<void> {
  try {
    while (!over.aborted) {
      // MySQL may be away.
      await warehouse.lookAround().catch(() => {});
      await delay(EVERY_MS, undefined, { signal: over }).catch(() => {});
    }
  } finally {
    warehouse.close();
  }
}
