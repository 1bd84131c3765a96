import { Failure } from "../launcher/failure.ts";
import { numberOption, readArguments } from "../cli/options.ts";

/** What can be done to the service. */
export const SCENARIOS = [
  "steady",
  "flush",
  "frozen-redis",
  "frozen-mysql",
  "flash-sale",
  "relay",
  "failover",
] as const;
export type Scenario = (typeof SCENARIOS)[number];

/** What each scenario is, unless the command line says otherwise. */
const DEFAULTS: Record<Scenario, { readonly orders: string; readonly minutes: string }> = {
  steady: { orders: "5000", minutes: "3" },
  flush: { orders: "1000", minutes: "0.1" },
  "frozen-redis": { orders: "3000", minutes: "1" },
  "frozen-mysql": { orders: "1200", minutes: "0.75" },
  "flash-sale": { orders: "10000", minutes: "1" },
  relay: { orders: "10000", minutes: "2" },
  failover: { orders: "3000", minutes: "1" },
};

export const CHAOS_HELP = `npm run chaos -- [options]

Starts the whole service with servers and providers of its own, breaks it under load as the seed says, waits until
all orders have ended, and audits the books from the outside.

  --scenario NAME  steady        faults of every kind under a steady load (default)
                   flush         all workers killed and Redis flushed, with all orders in flight
                   frozen-redis  the same load with Redis healthy and then frozen, half the time each
                   frozen-mysql  MySQL frozen for 4 s three times, under 60 customers without keys who repeat
                                 every request that is answered with 503
                   flash-sale    everybody wants one product, while workers are killed at random
                   relay         whoever feeds the stream of events is killed five times and frozen once, and
                                 Redis flushed once, while another service reads the stream
                   failover      MySQL's primary becomes read-only and keeps its connections; new ones lead to
                                 the replica, which is the primary from then on (MariaDB)
  --orders N       orders to place (default 5000; 1000, 3000, 1200, 10000, 10000 and 3000 in the others)
  --minutes N      time in which they are placed (default 3; 0.1, 1, 0.75, 1, 2 and 1)
  --seed N         another schedule and other orders; the same seed gives the same (default 1)
  --workers N      worker processes (default 4)
  --apis N         API processes (default 2)
  --units N        pieces in stock of the product in flash-sale (default 500)
  --patience N     seconds that the orders have to end after the load (default 180)
  --plan           print the faults to come, and end
  --json FILE      write the report as JSON too
  --help           show this

What the environment sets for the service is passed on to it: SWEEP_AFTER_MS=5000 npm run chaos.
Ends with 0 when every promise held, with 1 when one was broken, with 2 for wrong options, and with 130 when it is
interrupted.`;

export interface ChaosOptions {
  readonly scenario: Scenario;
  readonly orders: number;
  /** Milliseconds of load. */
  readonly lengthMs: number;
  readonly seed: number;
  readonly workers: number;
  readonly apis: number;
  readonly units: number;
  /** Milliseconds that the orders have to end after the load. */
  readonly patienceMs: number;
  readonly isPlanOnly: boolean;
  readonly json: string | undefined;
}

/** What the command line asks for; undefined: for help. @throws {Failure} */
export function readChaosOptions(args: readonly string[]): ChaosOptions | undefined {
  const { values, positionals } = readArguments("chaos", {
    args: [...args],
    allowPositionals: true,
    options: {
      scenario: { type: "string", default: "steady" },
      orders: { type: "string" },
      minutes: { type: "string" },
      seed: { type: "string", default: "1" },
      workers: { type: "string", default: "4" },
      apis: { type: "string", default: "2" },
      units: { type: "string", default: "500" },
      patience: { type: "string", default: "180" },
      plan: { type: "boolean", default: false },
      json: { type: "string" },
      help: { type: "boolean", short: "h" },
    },
  });
  if (values.help) return undefined;
  if (positionals.length > 0)
    throw new Failure(`${JSON.stringify(positionals[0])} is no option; see npm run chaos -- --help`);
  const scenario = SCENARIOS.find((known) => known === values.scenario);
  if (scenario === undefined)
    throw new Failure(
      `--scenario must be one of ${SCENARIOS.join(", ")}, not ${JSON.stringify(values.scenario)}`,
    );
  if (values.plan && scenario !== "steady")
    throw new Failure("--plan is for the scenario steady: others have none");
  if (values.json === "") throw new Failure("--json must name a file");
  const { orders, minutes } = { ...DEFAULTS[scenario], ...definedOf(values) };
  return {
    scenario,
    orders: numberOption("orders", orders, { least: 1, most: 1_000_000 }),
    lengthMs: numberOption("minutes", minutes, { least: 0.05, most: 1_440, isWhole: false }) * 60_000,
    seed: numberOption("seed", values.seed, { least: 0, most: 2 ** 32 - 1 }),
    workers: numberOption("workers", values.workers, { least: 1, most: 32 }),
    apis: numberOption("apis", values.apis, { least: 1, most: 16 }),
    units: numberOption("units", values.units, { least: 0, most: 1_000_000 }),
    patienceMs: numberOption("patience", values.patience, { least: 1, most: 86_400 }) * 1_000,
    isPlanOnly: values.plan,
    json: values.json,
  };
}

function definedOf({
  orders,
  minutes,
}: {
  readonly orders?: string | undefined;
  readonly minutes?: string | undefined;
}): { orders?: string; minutes?: string } {
  return { ...(orders === undefined ? {} : { orders }), ...(minutes === undefined ? {} : { minutes }) };
}
