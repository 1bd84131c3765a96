import { Failure } from "../../shared/failure.ts";
import { numberOption, readArguments } from "../../shared/options.ts";

export const DEMO_HELP = `npm run demo -- [options]

Sends a stream of generated orders and shows their progress. Most succeed; some are sold out, some are declined, and for
some the payment provider fails a few times first.

  --orders N   number of orders (default 60)
  --rate N     orders per second (default 5)
  --seed N     seed for the generator; the same seed makes the same orders (default 1)
  --help       show this

Uses CONVEYOR_URL and CONVEYOR_API_KEY if set, otherwise the Conveyor that \`npm start\` runs in this folder.`;

export interface DemoOptions {
  readonly orders: number;
  /** Orders per second. */
  readonly rate: number;
  readonly seed: number;
}

/** Parses the command line; undefined if it asks for help. @throws {Failure} */
export function readDemoOptions(args: readonly string[]): DemoOptions | undefined {
  const { values, positionals } = readArguments("demo", {
    args: [...args],
    allowPositionals: true,
    options: {
      orders: { type: "string", default: "60" },
      rate: { type: "string", default: "5" },
      seed: { type: "string", default: "1" },
      help: { type: "boolean", short: "h" },
    },
  });
  if (values.help) return undefined;
  if (positionals.length > 0)
    throw new Failure(`${JSON.stringify(positionals[0])} is not an option; see npm run demo -- --help`);
  return {
    orders: numberOption("orders", values.orders, { least: 1, most: 10_000 }),
    rate: numberOption("rate", values.rate, { least: 0.1, most: 1_000, isWhole: false }),
    seed: numberOption("seed", values.seed, { least: 0, most: 2 ** 32 - 1 }),
  };
}
