import { describe, expect, test } from "@jest/globals";
import type { Check } from "../../../tools/chaos/audit.ts";
import { Ledger } from "../../../tools/chaos/ledger.ts";
import { readChaosOptions } from "../../../tools/chaos/options.ts";
import { jsonOf, renderReport } from "../../../tools/chaos/report.ts";
import type { RunReport } from "../../../tools/chaos/run.ts";

const BEGAN_AT = Date.UTC(2026, 0, 1);

function report(checks: readonly Check[]): RunReport {
  const options = readChaosOptions(["--seed", "7"]);
  if (!options) throw new Error("these are options");
  const ledger = new Ledger();
  const lines = [{ sku: "MUG", quantity: 1, unitPrice: 100 }];
  const request = { customerId: "cust-1", currency: "EUR", lines };
  for (const key of ["one", "two"]) {
    const order = { key, request, cancelAfter: undefined, isTwice: false };
    ledger.sent.set(key, order);
    const accepted = ledger.accept(order, JSON.stringify({ id: key }), false);
    if (accepted) accepted.endedAt = accepted.acceptedAt + (key === "one" ? 2_500 : 1_000);
  }
  ledger.attempts.push(
    { at: BEGAN_AT, tookMs: 10, status: 202, isRepeat: false },
    { at: BEGAN_AT, tookMs: 5_000, status: undefined, isRepeat: false },
    { at: BEGAN_AT, tookMs: 20, status: 503, isRepeat: true },
    { at: BEGAN_AT, tookMs: 30, status: 202, isRepeat: true },
  );
  const row = { total: 100, currency: "EUR", failed: null };
  return {
    options,
    versions: { mysql: "MariaDB 10", redis: "Redis 7", node: "v20.0.0" },
    beganAt: BEGAN_AT,
    settledAfterMs: 1_234,
    faults: [
      fault({ number: 2, startedAt: BEGAN_AT + 1_000, endedAt: BEGAN_AT + 3_500, tookMs: 4_000 }),
      fault({ number: 1, startedAt: BEGAN_AT + 5_000, endedAt: BEGAN_AT + 6_000, tookMs: 9_000 }),
    ],
    findings: [["share of 202s", "100.00 %"]],
    checks,
    ledger,
    evidence: {
      orders: [
        { ...row, id: "one", status: "DELIVERED", idempotencyKey: "one", cancelReason: null },
        { ...row, id: "two", status: "CANCELLED", idempotencyKey: "two", cancelReason: "sold out: MUG" },
      ],
      lines: [],
      events: [],
      failedAttempts: [],
      stock: [],
      reservations: new Map(),
      shipments: [],
      books: { charges: [], refunds: [], labels: [], declines: [] },
      jobs: new Map(),
      loaded: new Map(),
      customers: ledger,
      samples: { stockSamples: 1, sums: 1, breaches: [] },
    },
    ownEnds: ["worker-1: exit code 1"],
    logFolder: "/tmp/logs",
  };
}

function fault(given: { number: number; startedAt: number; endedAt: number; tookMs: number }) {
  const { tookMs, ...times } = given;
  const planned = { name: "redis-frozen" as const, targets: ["redis"], at: 0, lasts: 0, trouble: undefined };
  return {
    fault: { ...planned, ...times },
    recovery: { inFlight: 12, tookMs, unbrokenMs: 700, slowest: "one" },
  };
}

function kept(promise: string): Check {
  return { promise, checked: 1_000, of: "orders", breaches: [] };
}

function broken(promise: string, count: number): Check {
  const breaches = Array.from({ length: count }, (_, index) => `order ${index + 1} is lost\u001B[2J`);
  return { promise, checked: 1_000, of: "orders", breaches };
}

describe("the report", () => {
  test("ends with passed when every promise held", () => {
    const lines = renderReport(report([kept("orders end")]));
    expect(lines.at(-1)).toBe("passed");
    expect(lines).toContain("  ok      orders end (1,000 orders)");
    expect(lines.join("\n")).not.toContain("/tmp/logs");
  });

  test("counts the promises that were broken, with up to five examples each and where to look", () => {
    const lines = renderReport(
      report([kept("orders end"), broken("charged once", 7), broken("in order", 1)]),
    );
    expect(lines.at(-1)).toBe("2 breaches");
    expect(lines).toContain("the processes' logs: /tmp/logs");
    const start = lines.indexOf("  BREACH  charged once: 7 (of 1,000 orders)");
    expect(lines.slice(start + 1, start + 8)).toEqual([
      ...[1, 2, 3, 4, 5].map((index) => `            order ${index} is lost·[2J`),
      "            and 2 more",
      "  BREACH  in order: 1 (of 1,000 orders)",
    ]);
  });

  test("says of one breach that it is one", () => {
    expect(renderReport(report([broken("in order", 3)])).at(-1)).toBe("1 breach");
  });

  test("shows the faults with their times, and the longest recovery", () => {
    const text = renderReport(report([])).join("\n");
    expect(text).toMatch(/^ +1 +1\.0 s +redis-frozen +redis +2\.5 s +12 +4\.0 s +0\.7 s$/m);
    expect(text).toMatch(/^ +2 +5\.0 s +redis-frozen +redis +1\.0 s +12 +9\.0 s +0\.7 s$/m);
    expect(text).toMatch(/longest recovery +9\.0 s, from redis-frozen$/m);
    expect(text).toMatch(/without time under other faults +0\.7 s, from redis-frozen$/m);
  });

  test("says when the line never recovered", () => {
    const whole = report([]);
    const [first, ...others] = whole.faults;
    if (!first) throw new Error("there are faults");
    const never = { ...first, recovery: { ...first.recovery, tookMs: undefined, unbrokenMs: undefined } };
    const text = renderReport({ ...whole, faults: [never, ...others], settledAfterMs: undefined }).join("\n");
    expect(text).toMatch(/longest recovery +never, from redis-frozen$/m);
    expect(text).toMatch(/time after the load until every order ended +never$/m);
  });

  test("counts what customers saw, and what became of their orders", () => {
    const text = renderReport(report([])).join("\n");
    for (const line of [
      /accepted +2$/m,
      /delivered +1$/m,
      /cancelled +1$/m,
      /sold out +1$/m,
      /requests to place an order +4$/m,
      /repeated +2$/m,
      /answered with 503 +1$/m,
      /slowest +0\.0 s$/m,
      /without an answer +1$/m,
      /answer time, p50 and p99 +20\.0 and 30\.0 ms$/m,
      /longest time from 202 to end +2\.5 s \(one\)$/m,
      /time after the load until every order ended +1\.2 s$/m,
      /share of 202s +100\.00 %$/m,
      /worker-1: exit code 1$/m,
    ])
      expect(text).toMatch(line);
  });

  test("is there for programs too, with every breach", () => {
    const json = JSON.parse(jsonOf(report([broken("charged once", 7)])));
    expect(json).toMatchObject({ breaches: 1, settledAfterMs: 1_234, beganAt: "2026-01-01T00:00:00.000Z" });
    expect(json.checks[0].breaches).toHaveLength(7);
    expect(json.faults[0]).toMatchObject({ startedAfterMs: 1_000, lastedMs: 2_500, recoveryMs: 4_000 });
  });
});
