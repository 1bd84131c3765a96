import type { Database } from "./database.ts";
import { providerStates } from "./schema.ts";

/** The providers that can be switched: the simulated ones, and the stock in MySQL. */
export const PROVIDERS = ["inventory", "payments", "carrier"] as const;
export type Provider = (typeof PROVIDERS)[number];

/** Up with the configured latency, down, or up with this latency in milliseconds. */
export type ProviderSwitch = "up" | "down" | { readonly slowMs: number };

/** The maximum latency of a slow provider. */
export const SLOWEST_MS = 60_000;

export interface ProviderState {
  readonly switched: ProviderSwitch;
  readonly since: Date;
}

/** The providers that were ever switched; all others are up. @throws {DatabaseError} */
export async function findProviderStates(database: Database): Promise<Map<string, ProviderState>> {
  const rows = await database.query((queries) => queries.select().from(providerStates));
  return new Map(rows.map(({ provider, state, since }) => [provider, { switched: parsed(state), since }]));
}

/** Switches a simulated provider for all workers. @throws {DatabaseError} */
export async function setProviderState(
  database: Database,
  provider: Provider,
  switched: ProviderSwitch,
): Promise<void> {
  const since = new Date();
  const state = typeof switched === "string" ? switched : (`slow ${switched.slowMs}` as const);
  await database.transaction(async (queries) =>
    queries.commit([
      queries
        .insert(providerStates)
        .values({ provider, state, since })
        .onDuplicateKeyUpdate({ set: { state, since } }),
    ]),
  );
}

function parsed(state: typeof providerStates.$inferSelect.state): ProviderSwitch {
  return state === "up" || state === "down" ? state : { slowMs: Number(state.slice("slow ".length)) };
}
