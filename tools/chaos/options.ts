import { Failure } from "../shared/failure.ts";
import { numberOption, readArguments } from "../shared/options.ts";

/** The scenarios. */
export const SCENARIOS = [
  "steady",
  "flush",
  "frozen-redis",
  "frozen-mysql",
  "flash-sale",
  "relay",
  "failover",
  "poisoned",
  "http-stage",
  "stripe",
  "easypost",
] as const;
export type Scenario = (typeof SCENARIOS)[number];

/** How poisoned orders fail: see tools/simulators/poison.ts. */
const POISONS = ["hangs", "fails", "stumbles"] as const;
const CALLS = ["pay", "ship", "track", "refund"] as const;
export type PoisonedCall = (typeof CALLS)[number];
const CUSTOMERS = ["each", "one"] as const;

/** Each scenario's defaults. */
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
  // One order per second.
  poisoned: { orders: "300", minutes: "5", workers: "1", patience: "900" },
  "http-stage": { orders: "500", minutes: "0.75" },
  // A payment whose webhook is lost is looked at after five minutes.
  stripe: { orders: "5000", minutes: "3", patience: "600" },
  easypost: { orders: "5000", minutes: "3", patience: "600" },
};

export const CHAOS_HELP = `npm run chaos -- [options]

Starts the whole service with its own servers and providers, breaks it under load, waits until all orders have ended,
and audits the books from the outside. The seed determines the faults and the orders.

  --scenario NAME  steady        faults of every kind under a steady load (default)
                   flush         kills all workers and flushes Redis, with all orders in flight
                   frozen-redis  compares a load with healthy and with frozen Redis, half the time each
                   frozen-mysql  freezes MySQL for 4 s three times, while 60 customers without keys repeat
                                 every request that gets a 503
                   flash-sale    everybody wants the same product, while workers are killed at random
                   relay         kills the relay's worker five times, freezes it once, and flushes Redis once,
                                 while another service reads the event stream
                   failover      makes MySQL's primary read-only with its connections open; new ones lead to
                                 the replica, which becomes the primary (MariaDB)
                   poisoned      lets a share of the orders fail at the provider, and resumes them later
                   http-stage    adds a stage over HTTP, in Python, that is killed, slow, doubled, answers late and
                                 calls back twice
                   stripe        steady, with the simulated Stripe: it forgets keys after two seconds, and its webhooks
                                 are lost, late and doubled; customers confirm, banks take their time, and goods
                                 are refunded
                   easypost      steady, with the simulated EasyPost and FULFILMENT=manual: clerks plan at the same time,
                                 call parcels off, and EasyPost refuses that or decides later; its webhooks are
                                 lost, early, late and doubled; addresses are wrong or change, pieces are refunded
  --orders N       orders to place (default 5000; others: 1000, 3000, 1200, 10000, 10000, 3000, 300, 500, 5000, 5000)
  --minutes N      time to place them in (default 3; others: 0.1, 1, 0.75, 1, 2, 1, 5, 0.75, 3, 3)
  --seed N         the same seed gives the same faults and orders (default 1)
  --workers N      worker processes (default 4; 1 in poisoned)
  --split          half of the workers run reserve and pay, the others the rest
  --limit N        at most so many orders in pay at once, over all workers
  --apis N         API processes (default 2)
  --units N        flash-sale: units in stock (default 500)
  --share N        poisoned: the share of the orders that fail (default 0.3)
  --poison KIND    poisoned: no answer (hangs, default), always 5xx (fails), or often 5xx (stumbles)
  --customers WHO  poisoned: one customer per order (each, default), or one for all (one)
  --call CALL      poisoned: the call that fails: pay (default), ship, track or refund
  --patience N     seconds to wait for the orders to end after the load (default 180; 900 in poisoned, 600 in stripe and easypost)
  --plan           print the planned faults and exit
  --json FILE      also write the report as JSON
  --help           show this

Passes the service's environment variables on to it: SWEEP_AFTER_MS=5000 npm run chaos.
Exits with 0 if every promise held, with 1 if one was broken, with 2 for invalid options, and with 130 if interrupted.`;

export interface ChaosOptions {
  readonly scenario: Scenario;
  readonly orders: number;
  /** Milliseconds of load. */
  readonly lengthMs: number;
  readonly seed: number;
  readonly workers: number;
  /** Whether workers share the stages. */
  readonly isSplit: boolean;
  /** Orders in `pay` at once, over all workers. */
  readonly payLimit: number | undefined;
  readonly apis: number;
  readonly units: number;
  /** The share of the orders that are poisoned. */
  readonly share: number;
  readonly poison: (typeof POISONS)[number];
  readonly customers: (typeof CUSTOMERS)[number];
  readonly call: PoisonedCall;
  /** Milliseconds to wait for the orders to end after the load. */
  readonly patienceMs: number;
  readonly isPlanOnly: boolean;
  readonly json: string | undefined;
}

/** Parses the command line; undefined if it asks for help. @throws {Failure} */
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
      split: { type: "boolean", default: false },
      limit: { type: "string" },
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
    throw new Failure(`${JSON.stringify(positionals[0])} is not an option; see npm run chaos -- --help`);
  const scenario = SCENARIOS.find((known) => known === values.scenario);
  if (scenario === undefined)
    throw new Failure(
      `--scenario must be one of ${SCENARIOS.join(", ")}, not ${JSON.stringify(values.scenario)}`,
    );
  if (values.plan && scenario !== "steady")
    throw new Failure("--plan is only for the scenario steady; the others have no plan");
  if (values.json === "") throw new Failure("--json must name a file");
  const { orders, minutes, workers, patience } = {
    workers: "4",
    patience: "180",
    ...DEFAULTS[scenario],
    ...definedOf(values),
  };
  if (values.split && Number(workers) < 2) throw new Failure("--split needs at least two workers");
  return {
    scenario,
    orders: numberOption("orders", orders, { least: 1, most: 1_000_000 }),
    lengthMs: numberOption("minutes", minutes, { least: 0.05, most: 1_440, isWhole: false }) * 60_000,
    seed: numberOption("seed", values.seed, { least: 0, most: 2 ** 32 - 1 }),
    workers: numberOption("workers", workers, { least: 1, most: 32 }),
    isSplit: values.split,
    payLimit:
      values.limit === undefined ? undefined : numberOption("limit", values.limit, { least: 1, most: 1_000 }),
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

/** The options given on the command line among those whose defaults differ by scenario. */
function definedOf({ orders, minutes, workers, patience }: Defaulted) {
  return {
    ...(orders === undefined ? {} : { orders }),
    ...(minutes === undefined ? {} : { minutes }),
    ...(workers === undefined ? {} : { workers }),
    ...(patience === undefined ? {} : { patience }),
  };
}
