import type { BenchReport, DrainRow, RatioName, Results } from "./report.ts";
import { ratioOf, spreadOf, type Spread } from "./statistics.ts";
import { NAMES } from "./variants.ts";

/** A ratio and its goal, if it has one: the required value (`least`) and the aim. */
export interface Goal {
  readonly name: RatioName;
  readonly what: string;
  readonly least?: number;
  readonly aim?: number;
  /** Set if lower is better. */
  readonly isLess?: true;
}

/** The number of connections at which accepting is judged. */
const JUDGED_CONNECTIONS = 200;

export const GOALS: readonly Goal[] = [
  { name: "acceptToBareExpress", what: "accept at 200 connections / bare Express", least: 0.6, aim: 0.75 },
  { name: "acceptToOneTransaction", what: "accept / one transaction per request", least: 2.5, aim: 3.5 },
  { name: "acceptToSync", what: "accept / synchronous, which also processes" },
  { name: "drainToBareBullmq", what: "drain / bare BullMQ, four empty stages", least: 0.85, aim: 1.1 },
  { name: "drainToOneTransaction", what: "drain / one transaction per job", least: 4, aim: 6 },
  { name: "drainToSync", what: "drain / synchronous, same orders", least: 4, aim: 6 },
  {
    name: "aloneToBareChain",
    what: "one order alone, POST to DELIVERED / bare chain",
    least: 2,
    aim: 1.2,
    isLess: true,
  },
  {
    name: "outageP99",
    what: "p99 of POST while inventory is down / healthy",
    least: 1.2,
    aim: 1,
    isLess: true,
  },
  { name: "growthDrain", what: "drain with the most past orders / with the fewest", least: 0.9, aim: 1 },
  { name: "scaling", what: "slow providers: most workers / as many times one", least: 0.92, aim: 0.98 },
  {
    name: "cpuToBefore",
    what: "CPU per order (Node, MySQL, Redis) / the version before",
    least: 0.5,
    aim: 0.4,
    isLess: true,
  },
];

export type Verdict = "aim reached" | "reached" | "missed" | "not measured" | "no goal";

/** Whether a goal was reached. */
export function verdictOf({ least, aim, isLess }: Goal, value: number | null): Verdict {
  if (value === null) return "not measured";
  if (least === undefined || aim === undefined) return "no goal";
  const reaches = (bound: number) => (isLess ? value <= bound : value >= bound);
  if (reaches(aim)) return "aim reached";
  return reaches(least) ? "reached" : "missed";
}

/** Computes the ratios, repeat by repeat. */
export function ratiosOf(results: Results): Pick<BenchReport, "ratios" | "ratioSpreads"> {
  const spreads: Partial<Record<RatioName, Spread>> = {};
  const note = (name: RatioName, over: Spread | undefined, under: Spread | undefined) => {
    if (over && under) spreads[name] = ratioOf(over, under);
  };
  const accepted = (name: string) => {
    const rows = results.accept?.rows.filter((row) => row.name === name) ?? [];
    return (rows.find(({ connections }) => connections === JUDGED_CONNECTIONS) ?? rows.at(-1))
      ?.requestsPerSecond;
  };
  const drain = (name: string) => results.drain?.rows.find((row) => row.name === name);
  const drained = (name: string) => drain(name)?.ordersPerSecond;
  const alone = (name: string) => results.alone?.rows.find((row) => row.name === name)?.p50;
  note("acceptToBareExpress", accepted(NAMES.conveyor), accepted(NAMES.express));
  note("acceptToOneTransaction", accepted(NAMES.conveyor), accepted(NAMES.oneTransaction));
  note("acceptToSync", accepted(NAMES.conveyor), accepted(NAMES.sync));
  note("drainToBareBullmq", drained(NAMES.conveyor), drained(NAMES.bullmq));
  note("drainToOneTransaction", drained(NAMES.conveyor), drained(NAMES.oneTransaction));
  note("drainToSync", drained(NAMES.conveyor), drained(NAMES.sync));
  note("cpuToBefore", cpuOf(drain(NAMES.conveyor)), cpuOf(drain(NAMES.before)));
  note("aloneToBareChain", alone(NAMES.conveyor), alone(NAMES.bullmq));
  if (results.outage) spreads.outageP99 = results.outage.p99WhileDownToHealthy;
  const growth = results.growth?.rows;
  note("growthDrain", growth?.at(-1)?.drainPerSecond, growth?.at(0)?.drainPerSecond);
  const fewest = results.scaling?.rows.at(0);
  const most = results.scaling?.rows.at(-1);
  if (fewest && most) {
    const times = most.workers / fewest.workers;
    const ideal = fewest.ordersPerSecond.values.map((value) => value * times);
    note("scaling", most.ordersPerSecond, { ...fewest.ordersPerSecond, values: ideal });
  }
  const valueOf = (name: RatioName) => spreads[name]?.median ?? null;
  return {
    ratios: {
      acceptToBareExpress: valueOf("acceptToBareExpress"),
      acceptToOneTransaction: valueOf("acceptToOneTransaction"),
      acceptToSync: valueOf("acceptToSync"),
      drainToBareBullmq: valueOf("drainToBareBullmq"),
      drainToOneTransaction: valueOf("drainToOneTransaction"),
      drainToSync: valueOf("drainToSync"),
      aloneToBareChain: valueOf("aloneToBareChain"),
      outageP99: valueOf("outageP99"),
      growthDrain: valueOf("growthDrain"),
      scaling: valueOf("scaling"),
      cpuToBefore: valueOf("cpuToBefore"),
    },
    ratioSpreads: spreads,
  };
}

/** Milliseconds of CPU per order in all processes together. */
function cpuOf(row: DrainRow | undefined): Spread | undefined {
  if (!row?.cpu) return undefined;
  const { node, mysql, redis } = row.cpu;
  return spreadOf(
    node.values.map((value, round) => value + (mysql.values[round] ?? NaN) + (redis.values[round] ?? NaN)),
  );
}
