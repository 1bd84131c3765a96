import { Failure } from "../shared/failure.ts";
import { readArguments } from "../shared/options.ts";
import { COMPARISONS, type Comparison } from "./report.ts";
import type { Size } from "./sizes.ts";

export const BENCH_HELP = `npm run bench -- [options]

Compares Conveyor with what it is built on and what it replaces, on its own servers: bare Express, bare BullMQ, one
transaction per order, and the synchronous design. Takes about half an hour on an otherwise idle machine.

  --quick          measure less, in under two minutes
  --only LIST      run only these comparisons, separated by commas:
                     accept   POST /orders at 1, 50 and 200 connections
                     drain    process a backlog through all stages
                     alone    one order at a time
                     outage   a steady load while the inventory is slow, down, and back
                     growth   with growing numbers of past orders, and a large backlog
                     scaling  1, 2 and 4 workers with slow providers
  --against REV    compare accept and drain with this commit; otherwise, drain with the last tag
  --json FILE      also write the results as JSON
  --write-docs     write docs/benchmarks.md and its plots from the results
  --from FILE      measure nothing; use the results in this JSON file
  --cpu-prof DIR   write CPU profiles of the service's processes here
  --smoke          run and check everything as briefly as possible; the numbers mean nothing
  --help           show this

Exits with 0 on success (even if a ratio misses its goal), with 1 on an error, with 2 for invalid options, and with 130
if interrupted.`;

export interface BenchOptions {
  readonly size: Size;
  readonly only: readonly Comparison[];
  /** The commit to compare with. */
  readonly against: string | undefined;
  readonly json: string | undefined;
  readonly isForDocs: boolean;
  readonly from: string | undefined;
  readonly profiles: string | undefined;
}

/** What these options name, if not a file. */
const WHAT: Readonly<Record<string, string>> = { "cpu-prof": "folder", against: "commit" };

/** Parses the command line; undefined if it asks for help. @throws {Failure} */
export function readBenchOptions(args: readonly string[]): BenchOptions | undefined {
  const { values, positionals } = readArguments("bench", {
    args: [...args],
    allowPositionals: true,
    options: {
      quick: { type: "boolean", default: false },
      smoke: { type: "boolean", default: false },
      only: { type: "string" },
      against: { type: "string" },
      json: { type: "string" },
      "write-docs": { type: "boolean", default: false },
      from: { type: "string" },
      "cpu-prof": { type: "string" },
      help: { type: "boolean", short: "h" },
    },
  });
  if (values.help) return undefined;
  if (positionals.length > 0)
    throw new Failure(`${JSON.stringify(positionals[0])} is not an option; see npm run bench -- --help`);
  if (values.quick && values.smoke) throw new Failure("--quick and --smoke are mutually exclusive");
  for (const name of ["json", "from", "cpu-prof", "against"] as const)
    if (values[name] === "") throw new Failure(`--${name} must name a ${WHAT[name] ?? "file"}`);
  const { quick, smoke, only, against, "cpu-prof": profiles } = values;
  const measuring = quick || smoke || [only, against, profiles].some((value) => value !== undefined);
  if (values.from !== undefined && measuring)
    throw new Failure("--from measures nothing; combine it only with --write-docs and --json");
  const compared = only === undefined ? COMPARISONS : comparisonsOf(only);
  if (against !== undefined && !compared.includes("drain") && !compared.includes("accept"))
    throw new Failure("--against compares accept and drain; add one of them to --only");
  return {
    size: smoke ? "smoke" : quick ? "quick" : "full",
    only: compared,
    against,
    json: values.json,
    isForDocs: values["write-docs"],
    from: values.from,
    profiles,
  };
}

function comparisonsOf(list: string): Comparison[] {
  const names = list.split(",").map((name) => name.trim());
  const unknown = names.find((name) => !COMPARISONS.some((each) => each === name));
  if (unknown !== undefined)
    throw new Failure(
      `--only must be one or more of ${COMPARISONS.join(", ")}, not ${JSON.stringify(unknown)}`,
    );
  return COMPARISONS.filter((each) => names.includes(each));
}
