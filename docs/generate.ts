import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { format, resolveConfig } from "prettier";
import { EVENT_TYPES } from "../src/order/event.ts";
import { lifecycle } from "../src/order/lifecycle.ts";
import { messageType } from "../src/events/message.ts";
import { workerOverlays } from "./overlays.ts";
import { fill, sections } from "./sections.ts";

/**
 * `npm run docs` writes what is generated from the code: parts of the documentation, the types in the schema of events, and an
 * overlay of deploy/kubernetes; `npm run docs:check` fails if they are out of date.
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
const files = new Map([
  eventSchema("docs/event.schema.json"),
  ...FILES.map((name) => [name, fill(readFileSync(join(ROOT, name), "utf8"), parts)] as const),
  ...workerOverlays(lifecycle),
]);
for (const [name, text] of files) {
  const file = join(ROOT, name);
  const before = existsSync(file) ? readFileSync(file, "utf8") : undefined;
  const after = await format(text, { ...(await resolveConfig(file)), filepath: file });
  if (after === before) continue;
  if (onlyCheck) {
    process.stderr.write(`${name} is out of date: npm run docs brings it up to date\n`);
    process.exitCode = 1;
  } else {
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, after);
    process.stdout.write(`${name} is written\n`);
  }
}

/** The schema of events with the types that there are. */
function eventSchema(name: string): readonly [name: string, text: string] {
  const types = EVENT_TYPES.map((type) => JSON.stringify(messageType(type))).join(",");
  const text = readFileSync(join(ROOT, name), "utf8");
  return [name, text.replace(/"enum": \[\s*"conveyor\.order[^\]]*\]/, `"enum": [${types}]`)];
}
