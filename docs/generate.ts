import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { format, resolveConfig } from "prettier";
import { lifecycle } from "../src/order/lifecycle.ts";
import { fill, sections } from "./sections.ts";

/**
 * `npm run docs` writes the parts of the documentation that are generated from the code; `npm run docs:check` fails if
 * they are out of date.
 */

const ROOT = join(import.meta.dirname, "..");
const FILES = [
  "README.md",
  "docs/adding-a-stage.md",
  "docs/api.md",
  "docs/architecture.md",
  "docs/configuration.md",
  "docs/observability.md",
  "docs/reliability.md",
  "docs/trying-it-out.md",
];

const onlyCheck = process.argv.includes("--check");
const parts = sections(lifecycle);
for (const name of FILES) {
  const file = join(ROOT, name);
  const before = readFileSync(file, "utf8");
  const after = await format(fill(before, parts), { ...(await resolveConfig(file)), filepath: file });
  if (after === before) continue;
  if (onlyCheck) {
    process.stderr.write(`${name} is out of date: npm run docs brings it up to date\n`);
    process.exitCode = 1;
  } else {
    writeFileSync(file, after);
    process.stdout.write(`${name} is written\n`);
  }
}
