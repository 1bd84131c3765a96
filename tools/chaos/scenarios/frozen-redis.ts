import { steadyLoad } from "../load.ts";
import type { Attempt } from "../ledger.ts";
import type { ChaosOptions } from "../options.ts";
import { makeGoods, makeOrders } from "../orders.ts";
import type { Finding, Script } from "../run.ts";
import { percentile } from "../../shared/percentile.ts";
import { grouped } from "../../shared/text.ts";

/** Applies the same load with Redis healthy and then frozen. */
export function frozenRedis(options: ChaosOptions): Script {
  const goods = makeGoods(options.orders);
  const orders = makeOrders({ count: options.orders, seed: options.seed, goods });
  const half = Math.ceil(orders.length / 2);
  const halfMs = options.lengthMs / 2;
  return {
    goods,
    async play({ ledger, customers, saboteur, signal }) {
      await steadyLoad(customers, orders.slice(0, half), halfMs, signal);
      await customers.idle();
      const frozenAt = Date.now();
      await Promise.all([
        saboteur.inject({ number: 1, name: "redis-frozen", targets: ["redis"], at: halfMs, lasts: halfMs }),
        steadyLoad(customers, orders.slice(half), halfMs, signal),
      ]);
      const thawedAt = saboteur.injected[0]?.endedAt ?? Date.now();
      const first = ledger.attempts.filter(({ isRepeat }) => !isRepeat);
      const healthy = measure(first.filter(({ at }) => at < frozenAt));
      const frozen = measure(first.filter(({ at }) => at >= frozenAt && at < thawedAt));
      return () => [
        ...findings("Redis healthy", healthy),
        ...findings("Redis frozen", frozen),
        ["p50, frozen to healthy", (frozen.p50 / healthy.p50).toFixed(2)],
        ["p99, frozen to healthy", (frozen.p99 / healthy.p99).toFixed(2)],
      ];
    },
  };
}

interface Measured {
  readonly requests: number;
  readonly accepted: number;
  /** Milliseconds from request to answer. */
  readonly p50: number;
  readonly p99: number;
}

function measure(attempts: readonly Attempt[]): Measured {
  const times = attempts.map(({ tookMs }) => tookMs).toSorted((a, b) => a - b);
  return {
    requests: attempts.length,
    accepted: attempts.filter(({ status }) => status === 202).length,
    p50: percentile(times, 0.5),
    p99: percentile(times, 0.99),
  };
}

function findings(what: string, { requests, accepted, p50, p99 }: Measured): Finding[] {
  const share = ((accepted / requests) * 100).toFixed(2);
  return [
    [`${what}: first attempts`, grouped(requests)],
    [`${what}: got a 202`, `${share} %`],
    [`${what}: p50`, `${p50.toFixed(1)} ms`],
    [`${what}: p99`, `${p99.toFixed(1)} ms`],
  ];
}
