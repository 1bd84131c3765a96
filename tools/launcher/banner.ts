import { describeRedis } from "../../src/platform/redis-url.ts";
import { DEMO_ORDER } from "./demo-stock.ts";
import { environmentUrl } from "./servers/external.ts";
import { bold, dim } from "./terminal.ts";
import { LOCAL } from "./local-folder.ts";
import type { Run } from "./state.ts";

/** What `npm start` prints once Conveyor runs: addresses, keys, and one command to try. */
export function bannerLines(run: Run, environment: NodeJS.ProcessEnv): string[] {
  const { apiKey, conveyorUrl, databaseUrl, redisUrl, versions } = run;
  const authorization = `-H 'Authorization: Bearer ${apiKey}'`;
  return [
    "",
    bold("Conveyor is running"),
    "",
    row("API", conveyorUrl),
    row("API docs", `${conveyorUrl}/docs`),
    row("Console", `${conveyorUrl}/console`, "any name, the key as password"),
    row("Bull Board", `${conveyorUrl}/queues`, "the same"),
    row("Key", apiKey),
    row("MySQL", `${versions.mysql} on ${new URL(databaseUrl).host}`),
    row("Redis", `${versions.redis} on ${describeRedis(redisUrl)}`),
    row("Data", ...whereDataIsKept(environment)),
    row("Logs", LOCAL.logs),
    "",
    bold("Place an order"),
    "",
    `  curl -s ${conveyorUrl}/orders ${authorization} \\`,
    `    -H 'Content-Type: application/json' -H 'Idempotency-Key: my-first-order' \\`,
    `    -d '${JSON.stringify(DEMO_ORDER)}'`,
    "",
    `and follow it, with the id from the answer: curl -s ${conveyorUrl}/orders/${dim("<id>")} ${authorization}`,
    "",
    "Ctrl-C stops everything.",
    "",
  ];
}

function row(name: string, value: string, note = ""): string {
  return `  ${name.padEnd(12)}${value}${note && dim(`  (${note})`)}`;
}

function whereDataIsKept(environment: NodeJS.ProcessEnv): [string, string] {
  const theirs = (["mysql", "redis"] as const).filter((server) => environmentUrl(server, environment));
  if (theirs.length === 2) return ["in your servers", "npm run reset leaves it alone"];
  const note = "kept; npm run reset wipes it";
  return [LOCAL.data, theirs.length === 0 ? note : `${note}, except what your server holds`];
}
