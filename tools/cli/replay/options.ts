import { Failure } from "../../shared/failure.ts";
import { numberOption, readArguments } from "../../shared/options.ts";

export const REPLAY_HELP = `npm run replay -- FILE.csv [options]

Replays a file in the format of the "Online Retail" data set over Conveyor's HTTP API: loads the stock it needs, places
one order per invoice, waits until all have settled, and checks totals and stock.

  --concurrency N   requests in flight at once (default 50)
  --timeout N       give up after this many seconds without progress (default 120)
  --json FILE       also write the report as JSON
  --help            show this

Uses CONVEYOR_URL and CONVEYOR_API_KEY if set, otherwise the Conveyor that \`npm start\` runs in this folder.
Running it again with the same file places no order twice. Exits with 0 if every order ended and everything reconciles,
with 1 if not, and with 130 if interrupted.`;

export interface ReplayOptions {
  readonly file: string;
  readonly concurrency: number;
  /** Milliseconds. */
  readonly patience: number;
  readonly json: string | undefined;
}

/** Parses the command line; undefined if it asks for help. @throws {Failure} */
export function readReplayOptions(args: readonly string[]): ReplayOptions | undefined {
  const { values, positionals } = readArguments("replay", {
    args: [...args],
    allowPositionals: true,
    options: {
      concurrency: { type: "string", default: "50" },
      timeout: { type: "string", default: "120" },
      json: { type: "string" },
      help: { type: "boolean", short: "h" },
    },
  });
  if (values.help) return undefined;
  const [file, ...more] = positionals;
  if (file === undefined || file === "" || more.length > 0)
    throw new Failure("name one file: npm run replay -- FILE.csv; see npm run replay -- --help");
  return {
    file,
    concurrency: numberOption("concurrency", values.concurrency, { least: 1, most: 1_000 }),
    patience: numberOption("timeout", values.timeout, { least: 1, most: 86_400 }) * 1_000,
    json: values.json,
  };
}
