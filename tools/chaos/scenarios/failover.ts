import { setTimeout as delay } from "node:timers/promises";
import { percentile } from "../../shared/percentile.ts";
import { counted, grouped } from "../../shared/text.ts";
import type { Check } from "../audit.ts";
import type { Attempt } from "../ledger.ts";
import { steadyLoad } from "../load.ts";
import type { ChaosOptions } from "../options.ts";
import { makeGoods, makeOrders } from "../orders.ts";
import type { Failover } from "../replicated-mysql.ts";
import type { Finding, Script } from "../run.ts";
import { text, type Sql } from "../sql.ts";

/** First attempts within this time after the failover are counted separately. */
const AFTERMATH_MS = 10_000;
const SHOWN = 10;

/**
 * MySQL fails over under load: the old primary becomes read-only but keeps its connections, the replica becomes
 * the primary, and new connections lead to it.
 */
export function failover(options: ChaosOptions): Script {
  const goods = makeGoods(options.orders);
  const orders = makeOrders({ count: options.orders, seed: options.seed, goods });
  let failedAttempts: readonly string[] = [];
  return {
    goods,
    hasStandby: true,
    async play({ deployment, ledger, customers, note, signal }) {
      const { standby } = deployment;
      if (standby === undefined) throw new Error("the deployment has no standby");
      const failOver = async () => {
        await delay(options.lengthMs / 2, undefined, { signal });
        const done = await standby.failOver();
        note(`failed over; no writes for ${done.turnedAt - done.readOnlyAt} ms`);
        return done;
      };
      const [done] = await Promise.all([failOver(), steadyLoad(customers, orders, options.lengthMs, signal)]);
      return async () => {
        failedAttempts = await readFailedAttempts(deployment.sql);
        return findings(ledger.attempts, done, failedAttempts.length);
      };
    },
    checks: () => [
      {
        promise: "the failover cost no order an attempt",
        checked: options.orders,
        of: "orders",
        breaches: failedAttempts.slice(0, SHOWN),
      } satisfies Check,
    ],
  };
}

/** Failed attempts, except those that the payment token asked for. */
async function readFailedAttempts(sql: Sql): Promise<string[]> {
  const rows = await sql.rows(
    `SELECT order_id, stage, reason FROM order_events
      WHERE type IN ('attempt-failed', 'failed') AND reason NOT LIKE '%answered 503' ORDER BY id`,
  );
  return rows.map((row) => `${text(row["order_id"])}: ${text(row["stage"])} failed: ${text(row["reason"])}`);
}

function findings(
  attempts: readonly Attempt[],
  { readOnlyAt, turnedAt }: Failover,
  failed: number,
): Finding[] {
  const first = attempts.filter(({ isRepeat }) => !isRepeat);
  const accepted = attempts.filter(({ status }) => status === 202);
  const before = first.filter(({ at, tookMs }) => at + tookMs < readOnlyAt);
  const meanwhile = first.filter(({ at, tookMs }) => at < turnedAt && at + tookMs >= readOnlyAt);
  const after = first.filter(({ at }) => at >= turnedAt && at < turnedAt + AFTERMATH_MS);
  const firstOnNew = accepted
    .map(({ at, tookMs }) => at + tookMs)
    .filter((at) => at >= turnedAt)
    .toSorted((a, b) => a - b)[0];
  return [
    ["no writes for", `${turnedAt - readOnlyAt} ms`],
    ["first attempts that got a 202", share(first)],
    ["  before the failover", share(before)],
    ["  in flight during the failover", share(meanwhile)],
    [`  in the ${AFTERMATH_MS / 1_000} s after it`, share(after)],
    [
      "first order on the new primary",
      firstOnNew === undefined
        ? "none"
        : `${((firstOnNew - turnedAt) / 1_000).toFixed(3)} s after it accepted writes`,
    ],
    ["attempts used up", counted(failed, "attempt")],
  ];
}

function share(attempts: readonly Attempt[]): string {
  if (attempts.length === 0) return "none";
  const accepted = attempts.filter(({ status }) => status === 202).length;
  const times = attempts.map(({ tookMs }) => tookMs).toSorted((a, b) => a - b);
  const part = ((accepted / attempts.length) * 100).toFixed(2);
  return `${part} % of ${grouped(attempts.length)}, p99 ${percentile(times, 0.99).toFixed(0)} ms`;
}
