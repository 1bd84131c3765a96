import { Database } from "../db/database.ts";
import { findProviderStates, PROVIDERS, setProviderState } from "../db/provider-states.ts";
import { readRunning } from "../launcher/state.ts";
import { loadConfig, PROCESSES } from "../src/config.ts";
import { runMain, UsageError } from "../src/startup.ts";

const USAGE = `usage: npm run providers [-- ${PROVIDERS.join("|")} up|down]`;

/** `npm run providers -- payments down`: switches a simulated provider, for every worker at once. */
runMain(async () => {
  const [name, state, ...rest] = process.argv.slice(2);
  const provider = PROVIDERS.find((known) => known === name);
  const switched = state === "up" || state === "down" ? state : undefined;
  if (rest.length > 0 || (name !== undefined && (provider === undefined || switched === undefined))) {
    throw new UsageError(USAGE);
  }
  const environment = { DATABASE_URL: readRunning()?.databaseUrl, ...process.env };
  const database = new Database({ url: loadConfig(PROCESSES.migrate, environment).DATABASE_URL });
  try {
    if (provider && switched) await setProviderState(database, provider, switched);
    const states = await findProviderStates(database);
    for (const known of PROVIDERS) process.stdout.write(`${known} ${states.get(known)?.state ?? "up"}\n`);
  } finally {
    await database.close();
  }
});
