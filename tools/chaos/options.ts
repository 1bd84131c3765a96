import { Failure } from "../shared/failure.ts";
import { numberOption, readArguments } from "../shared/options.ts";

/** What can be done to the service. */
export const SCENARIOS = [
  "steady",
  "flush",
  "frozen-redis",
  "frozen-mysql",
  "flash-sale",
  "relay",
  "failover",
  "poisoned",
] as const;
export type Scenario = (typeof SCENARIOS)[number];

/** What goes wrong for orders that nobody can serve, as tools/simulators/poison.ts has it. */
const POISONS = ["hangs", "fails", "stumbles"] as const;
const CALLS = ["pay", "ship", "track", "refund"] as const;
export type PoisonedCall = (typeof CALLS)[number];
const CUSTOMERS = ["each", "one"] as const;

/** What each scenario is, unless the command line says otherwise. */
const DEFAULTS: Record<
  Scenario,
  { readonly orders: string; readonly minutes: string; readonly workers?: string; readonly patience?: string }
> = {
  steady: { orders: "5000", minutes: "3" },
  flush: { orders: "1000", minutes: "0.1" },
  "frozen-redis": { orders: "3000", minutes: "1" },
  "frozen-mysql": { orders: "1200", minutes: "0.75" },
  "flash-sale": { orders: "10000", minutes: "1" },
  relay: { orders: "10000", minutes: "2" },
  failover: { orders: "3000", minutes: "1" },
  // One order a second.
  poisoned: { orders: "300", minutes: "5", workers: "1", patience: "900" },
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
                   poisoned      no provider can serve a share of the orders; later they are resumed
  --orders N       orders to place (default 5000; 1000, 3000, 1200, 10000, 10000, 3000 and 300 in the others)
  --minutes N      time in which they are placed (default 3; 0.1, 1, 0.75, 1, 2, 1 and 5)
  --seed N         another schedule and other orders; the same seed gives the same (default 1)
  --workers N      worker processes (default 4; 1 in poisoned)
  --apis N         API processes (default 2)
  --units N        pieces in stock of the product in flash-sale (default 500)
  --share N        poisoned: the part of the orders that can't be served (default 0.3)
  --poison KIND    poisoned: they get no answer (hangs, default), 5xx (fails), or often 5xx (stumbles)
  --customers WHO  poisoned: each has a customer of its own (each, default), or all have the same (one)
  --call CALL      poisoned: to pay (default), ship, track or refund them
  --patience N     seconds that the orders have to end after the load (default 180; 900 in poisoned)
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
  /** The part of the orders, and what goes wrong for them, that nobody can serve. */
  readonly share: number;
  readonly poison: (typeof POISONS)[number];
  readonly customers: (typeof CUSTOMERS)[number];
  readonly call: PoisonedCall;
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
      workers: { type: "string" },
      apis: { type: "string", default: "2" },
      units: { type: "string", default: "500" },
      share: { type: "string", default: "0.3" },
      poison: { type: "string", default: "hangs" },
      customers: { type: "string", default: "each" },
      call: { type: "string", default: "pay" },
      patience: { type: "string" },
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
  const { orders, minutes, workers, patience } = {
    workers: "4",
    patience: "180",
    ...DEFAULTS[scenario],
    ...definedOf(values),
  };
  return {
    scenario,
    orders: numberOption("orders", orders, { least: 1, most: 1_000_000 }),
    lengthMs: numberOption("minutes", minutes, { least: 0.05, most: 1_440, isWhole: false }) * 60_000,
    seed: numberOption("seed", values.seed, { least: 0, most: 2 ** 32 - 1 }),
    workers: numberOption("workers", workers, { least: 1, most: 32 }),
    apis: numberOption("apis", values.apis, { least: 1, most: 16 }),
    units: numberOption("units", values.units, { least: 0, most: 1_000_000 }),
    share: numberOption("share", values.share, { least: 0, most: 1, isWhole: false }),
    poison: oneOf("poison", values.poison, POISONS),
    customers: oneOf("customers", values.customers, CUSTOMERS),
    call: oneOf("call", values.call, CALLS),
    patienceMs: numberOption("patience", patience, { least: 1, most: 86_400 }) * 1_000,
    isPlanOnly: values.plan,
    json: values.json,
  };
}

function oneOf<Name extends string>(option: string, value: string, known: readonly Name[]): Name {
  const found = known.find((name) => name === value);
  if (found === undefined)
    throw new Failure(`--${option} must be one of ${known.join(", ")}, not ${JSON.stringify(value)}`);
  return found;
}

type Defaulted = Partial<Record<"orders" | "minutes" | "workers" | "patience", string | undefined>>;

/** What the command line says of what differs between scenarios. */
function definedOf({ orders, minutes, workers, patience }: Defaulted) {
  return {
    ...(orders === undefined ? {} : { orders }),
    ...(minutes === undefined ? {} : { minutes }),
    ...(workers === undefined ? {} : { workers }),
    ...(patience === undefined ? {} : { patience }),
  };
}
