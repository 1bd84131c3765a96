import { Failure } from "../../shared/failure.ts";
import { numberOption, readArguments } from "../../shared/options.ts";

export const DEMO_HELP = `npm run demo -- [options]

Sends a stream of made-up orders, most of them fine, some sold out, some declined, some whose payment provider stumbles,
and shows how they move.

  --orders N   orders to send (default 60)
  --rate N     orders a second (default 5)
  --seed N     makes up other orders; the same seed makes the same ones (default 1)
  --help       show this

Talks to CONVEYOR_URL with CONVEYOR_API_KEY, or else to the Conveyor that \`npm start\` runs in this folder.`;

export interface DemoOptions {
  readonly orders: number;
  /** Orders a second. */
  readonly rate: number;
  readonly seed: number;
}

/** What the command line asks for; undefined: for help. @throws {Failure} */
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
    throw new Failure(`${JSON.stringify(positionals[0])} is no option; see npm run demo -- --help`);
  return {
    orders: numberOption("orders", values.orders, { least: 1, most: 10_000 }),
    rate: numberOption("rate", values.rate, { least: 0.1, most: 1_000, isWhole: false }),
    seed: numberOption("seed", values.seed, { least: 0, most: 2 ** 32 - 1 }),
  };
}
