import { describe, expect, test } from "@jest/globals";
import { FAMILIES, FAULT_NAMES, KINDS } from "../../../tools/chaos/kinds.ts";
import { renderPlan } from "../../../tools/chaos/report.ts";
import { planFaults, type PlannedFault } from "../../../tools/chaos/schedule.ts";

const MINUTE_MS = 60_000;
const SEEDS = Array.from({ length: 200 }, (_, seed) => seed);

function plan(given: Partial<Parameters<typeof planFaults>[0]> = {}): PlannedFault[] {
  return planFaults({ seed: 7, lengthMs: 3 * MINUTE_MS, workers: 4, apis: 2, ...given });
}

function families(faults: readonly PlannedFault[]): Set<string> {
  return new Set(faults.map(({ name }) => KINDS[name].family));
}

describe("the schedule of faults", () => {
  test("is the same for the same seed, and another for another", () => {
    expect(plan()).toEqual(plan());
    const texts = SEEDS.map((seed) => JSON.stringify(plan({ seed })));
    expect(new Set(texts).size).toBe(SEEDS.length);
  });

  test("has about one fault in five to six seconds, and at least thirty in four minutes", () => {
    for (const seed of SEEDS) {
      expect(plan({ seed }).length).toBeGreaterThanOrEqual(26);
      expect(plan({ seed, lengthMs: 4 * MINUTE_MS }).length).toBeGreaterThanOrEqual(34);
      expect(plan({ seed, lengthMs: 12 * MINUTE_MS }).length).toBeGreaterThanOrEqual(105);
    }
  });

  test("breaks something of every family even in half a minute", () => {
    for (const seed of SEEDS) {
      const faults = plan({ seed, lengthMs: MINUTE_MS / 2 });
      expect([seed, families(faults)]).toEqual([seed, new Set(FAMILIES)]);
    }
  });

  test("draws every fault before it draws one again, as far as there is room", () => {
    for (const seed of SEEDS) {
      const drawn = new Set(plan({ seed, lengthMs: 6 * MINUTE_MS }).map(({ name }) => name));
      expect([seed, drawn]).toEqual([seed, new Set(FAULT_NAMES)]);
    }
  });

  test("leaves the last part of the load in peace", () => {
    const faults = SEEDS.flatMap((seed) => plan({ seed }));
    expect(faults.filter(({ at, lasts }) => at + lasts > 0.85 * 3 * MINUTE_MS)).toEqual([]);
  });

  test("gives every fault a length that it may have, and something to hit", () => {
    const wrong = SEEDS.flatMap((seed) => plan({ seed })).filter(({ name, lasts, targets }) => {
      const [least, most] = KINDS[name].lasts;
      return lasts < least * 1_000 || lasts > most * 1_000 || targets.length === 0;
    });
    expect(wrong).toEqual([]);
  });

  test("never breaks what is broken already, but different things at the same time", () => {
    let overlaps = 0;
    const twice: string[] = [];
    for (const seed of SEEDS) {
      const faults = plan({ seed });
      for (const [index, one] of faults.entries()) {
        for (const other of faults.slice(index + 1)) {
          if (other.at > one.at + one.lasts) continue;
          overlaps += 1;
          twice.push(...one.targets.filter((target) => other.targets.includes(target)));
        }
      }
    }
    expect(twice).toEqual([]);
    expect(overlaps).toBeGreaterThan(SEEDS.length);
  });

  test("freezes workers for longer than their locks of 15 s last", () => {
    const [least] = KINDS["worker-frozen"].lasts;
    expect(least).toBeGreaterThan(15);
  });

  test("hits only processes that there are", () => {
    const named = new Set(
      SEEDS.flatMap((seed) => plan({ seed, workers: 2, apis: 1 })).flatMap(({ targets }) => targets),
    );
    expect([...named].toSorted()).toEqual(
      ["api-1", "carrier", "inventory", "mysql", "payments", "redis", "worker-1", "worker-2"].toSorted(),
    );
  });

  test("is shown fault by fault", () => {
    const lines = renderPlan(plan());
    expect(lines).toHaveLength(plan().length + 1);
    expect(lines[0]).toMatch(/^ *# +at +fault +hits +for +meaning$/);
  });
});
