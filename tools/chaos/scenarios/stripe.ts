import { setTimeout as delay } from "node:timers/promises";
import { grouped } from "../../shared/text.ts";
import { steadyLoad } from "../load.ts";
import type { ChaosOptions } from "../options.ts";
import { makeGoods, makeOrders, type ChaosOrder } from "../orders.ts";
import { chance, stream } from "../random.ts";
import type { Scene, Script } from "../run.ts";
import { planFaults } from "../schedule.ts";

/** What Stripe forgets is asked for again by then. */
const KEYS_MS = 2_000;
const WEBHOOKS = { lost: 0.1, doubled: 0.2, latestMs: 3_000 };
/** Of the cards that are not declined: those whose customer confirms, and those whose bank takes its time. */
const CONFIRMED_SHARE = 0.06;
const BANK_SHARE = 0.05;
const POOR_SHARE = 0.02;
const CONFIRMED = "pm_card_authenticationRequired";
/** Of the customers whose order has ended, the share that wants money back, twice at once: there is enough for one. */
const REFUNDED_SHARE = 0.3;
const REFUNDED_PART = 0.6;
const EVERY_MS = 500;

/** Faults of every kind under a steady load, with a Stripe that forgets keys, and loses, doubles and delays webhooks. */
export function stripe(options: ChaosOptions): Script {
  const goods = makeGoods(options.orders);
  const random = stream(options.seed, "payment methods");
  const orders = makeOrders({ count: options.orders, seed: options.seed, goods }).map((order) => {
    if (order.request.paymentToken !== "tok_approved") return order;
    if (chance(random, CONFIRMED_SHARE)) return paidWith(order, CONFIRMED);
    if (chance(random, BANK_SHARE)) return paidWith(order, "pm_usBankAccount_success");
    return chance(random, POOR_SHARE) ? paidWith(order, "pm_usBankAccount_insufficientFunds") : order;
  });
  const plan = planFaults(options);
  return {
    goods,
    stripe: { keysMs: KEYS_MS, webhooks: WEBHOOKS },
    async play(scene) {
      const { customers, saboteur, ledger, signal } = scene;
      const confirming = new AbortController();
      const confirmed = confirm(scene, AbortSignal.any([signal, confirming.signal]));
      const refunding = new AbortController();
      const asked = askForRefunds(scene, AbortSignal.any([signal, refunding.signal]));
      await Promise.all([
        steadyLoad(customers, orders, options.lengthMs, signal),
        saboteur.injectAll(plan),
      ]).finally(() => refunding.abort());
      const refunds = await asked;
      return async () => {
        confirming.abort();
        const granted = [...ledger.refunded.values()].reduce((sum, each) => sum + each.length, 0);
        return [
          ["payments that customers confirmed", grouped(await confirmed)],
          ["refunds that customers asked for", grouped(refunds)],
          ["of which there was enough left", grouped(granted)],
          ["of which there was not", grouped(ledger.notRefundable)],
        ];
      };
    },
  };
}

function paidWith(order: ChaosOrder, paymentToken: string): ChaosOrder {
  return { ...order, request: { ...order.request, paymentToken } };
}

/** Customers confirm their payments, a moment after they are asked. @returns how many did. */
async function confirm({ deployment, ledger }: Scene, over: AbortSignal): Promise<number> {
  const done = new Set<string>();
  const { providers } = deployment;
  while (await goesOn(over))
    for (const { id, order } of ledger.open) {
      if (order.request.paymentToken !== CONFIRMED) continue;
      for (const { key, intent } of providers.entriesOf(id))
        if (intent?.status === "requires_action" && !done.has(key)) {
          const url = `${providers.paymentsUrl}/simulator/payment_intents/${key}/authenticate`;
          // Its network may be away at the moment.
          const answer = await fetch(url, { method: "POST", signal: AbortSignal.timeout(EVERY_MS) }).catch(
            () => undefined,
          );
          if (answer?.ok) done.add(key);
        }
    }
  return done.size;
}

/** Customers whose order has ended want money back, each twice at the same moment. @returns how often they asked. */
async function askForRefunds({ customers, ledger, options }: Scene, over: AbortSignal): Promise<number> {
  const seen = new Set<string>();
  const random = stream(options.seed, "refunds");
  let asked = 0;
  while (await goesOn(over))
    for (const { id, order, endedAt } of ledger.accepted.values()) {
      if (endedAt === undefined || seen.has(id)) continue;
      seen.add(id);
      const sum = order.request.lines.reduce((total, line) => total + line.quantity * line.unitPrice, 0);
      const amount = Math.ceil(sum * REFUNDED_PART);
      if (amount === 0 || !chance(random, REFUNDED_SHARE)) continue;
      for (const time of ["first", "second"]) customers.refund(id, amount, `${order.key}-refund-${time}`);
      asked += 2;
    }
  return asked;
}

function goesOn(over: AbortSignal): Promise<boolean> {
  return delay(EVERY_MS, undefined, { signal: over }).then(
    () => true,
    () => false,
  );
}
