import { Database } from "../../db/database.ts";
import {
  findProviderStates,
  PROVIDERS,
  setProviderState,
  SLOWEST_MS,
  type ProviderSwitch,
} from "../../db/provider-states.ts";
import { readRunning } from "../launcher/state.ts";
import { loadConfig, PROCESSES } from "../../src/composition/config.ts";
import { runMain, UsageError } from "../../src/platform/startup.ts";

const USAGE = `usage: npm run providers [-- ${PROVIDERS.join("|")} up|down|slow MILLISECONDS]`;

/** `npm run providers -- payments down`: switches a simulated provider for all workers. */
runMain(async () => {
  const [name, ...state] = process.argv.slice(2);
  const provider = PROVIDERS.find((known) => known === name);
  const switched = switchOf(state);
  if (name !== undefined && (provider === undefined || switched === undefined)) throw new UsageError(USAGE);
  const environment = { DATABASE_URL: readRunning()?.databaseUrl, ...process.env };
  const database = new Database({ url: loadConfig(PROCESSES.migrate, environment).DATABASE_URL });
  try {
    if (provider && switched) await setProviderState(database, provider, switched);
    const states = await findProviderStates(database);
    for (const known of PROVIDERS)
      process.stdout.write(`${known} ${textOf(states.get(known)?.switched ?? "up")}\n`);
  } finally {
    await database.close();
  }
});

function switchOf([state, ms, ...rest]: readonly string[]): ProviderSwitch | undefined {
  if (rest.length > 0) return undefined;
  if (state === "up" || state === "down") return ms === undefined ? state : undefined;
  const isTime = state === "slow" && /^\d{1,9}$/.test(ms ?? "") && Number(ms) <= SLOWEST_MS;
  return isTime ? { slowMs: Number(ms) } : undefined;
}

function textOf(switched: ProviderSwitch): string {
  return typeof switched === "string" ? switched : `slow ${switched.slowMs}`;
}
