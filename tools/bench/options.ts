import { Failure } from "../shared/failure.ts";
import { readArguments } from "../shared/options.ts";
import { COMPARISONS, type Comparison } from "./report.ts";
import type { Size } from "./sizes.ts";

export const BENCH_HELP = `npm run bench -- [options]

Measures Conveyor beside what it is made of and what it replaces, in one run and on servers of its own: bare Express, bare
BullMQ, one transaction an order, and the synchronous design. Takes about half an hour, alone on its machine.

  --quick          less of everything, in under two minutes
  --only LIST      only these comparisons, separated by commas:
                     accept   POST /orders at 1, 50 and 200 connections
                     drain    a backlog through all stages
                     alone    one order at a time
                     outage   steady load while the inventory is slow, down, and back
                     growth   with more and more orders in the table, and a large backlog
                     scaling  1, 2 and 4 workers with slow providers
  --json FILE      write the results as JSON too
  --write-docs     write docs/benchmarks.md and its plots from the results
  --from FILE      measure nothing: take the results from such a JSON file
  --cpu-prof DIR   have the service's processes leave CPU profiles there
  --smoke          as little as can be: its numbers mean nothing, but everything is run and checked
  --help           show this

Ends with 0, with 1 when something went wrong, with 2 for wrong options, and with 130 when it is interrupted. A ratio that
misses its goal is told, and is no error.`;

export interface BenchOptions {
  readonly size: Size;
  readonly only: readonly Comparison[];
  readonly json: string | undefined;
  readonly isForDocs: boolean;
  readonly from: string | undefined;
  readonly profiles: string | undefined;
}

/** What the command line asks for; undefined: for help. @throws {Failure} */
export function readBenchOptions(args: readonly string[]): BenchOptions | undefined {
  const { values, positionals } = readArguments("bench", {
    args: [...args],
    allowPositionals: true,
    options: {
      quick: { type: "boolean", default: false },
      smoke: { type: "boolean", default: false },
      only: { type: "string" },
      json: { type: "string" },
      "write-docs": { type: "boolean", default: false },
      from: { type: "string" },
      "cpu-prof": { type: "string" },
      help: { type: "boolean", short: "h" },
    },
  });
  if (values.help) return undefined;
  if (positionals.length > 0)
    throw new Failure(`${JSON.stringify(positionals[0])} is no option; see npm run bench -- --help`);
  if (values.quick && values.smoke) throw new Failure("--quick and --smoke exclude each other");
  for (const name of ["json", "from", "cpu-prof"] as const)
    if (values[name] === "")
      throw new Failure(`--${name} must name a ${name === "cpu-prof" ? "folder" : "file"}`);
  const measuring =
    values.quick || values.smoke || values.only !== undefined || values["cpu-prof"] !== undefined;
  if (values.from !== undefined && measuring)
    throw new Failure("--from measures nothing: only --write-docs and --json go with it");
  return {
    size: values.smoke ? "smoke" : values.quick ? "quick" : "full",
    only: values.only === undefined ? COMPARISONS : comparisonsOf(values.only),
    json: values.json,
    isForDocs: values["write-docs"],
    from: values.from,
    profiles: values["cpu-prof"],
  };
}

function comparisonsOf(list: string): Comparison[] {
  const names = list.split(",").map((name) => name.trim());
  const unknown = names.find((name) => !COMPARISONS.some((each) => each === name));
  if (unknown !== undefined)
    throw new Failure(`--only takes ${COMPARISONS.join(", ")}, not ${JSON.stringify(unknown)}`);
  return COMPARISONS.filter((each) => names.includes(each));
}
