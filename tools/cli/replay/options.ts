import { Failure } from "../../shared/failure.ts";
import { numberOption, readArguments } from "../../shared/options.ts";

export const REPLAY_HELP = `npm run replay -- FILE.csv [options]

Sends a file in the format of the "Online Retail" data set through Conveyor's HTTP API: loads the stock it takes, makes
one order of each invoice, waits until all of them are at rest, and checks totals and stock.

  --concurrency N   requests under way at once (default 50)
  --timeout N       seconds without any progress after which to give up (default 120)
  --json FILE       write the report as JSON too
  --help            show this

Talks to CONVEYOR_URL with CONVEYOR_API_KEY, or else to the Conveyor that \`npm start\` runs in this folder.
Run again with the same file, it makes no order twice. Ends with 0 when every order ended and everything reconciles,
with 1 when not, and with 130 when it is interrupted.`;

export interface ReplayOptions {
  readonly file: string;
  readonly concurrency: number;
  /** Milliseconds. */
  readonly patience: number;
  readonly json: string | undefined;
}

/** What the command line asks for; undefined: for help. @throws {Failure} */
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
