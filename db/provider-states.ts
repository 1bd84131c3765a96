import type { Database } from "./database.ts";
import { providerStates } from "./schema.ts";

/** What can be switched: each port of the pipeline has a simulated provider behind it, or the stock in MySQL. */
export const PROVIDERS = ["inventory", "payments", "carrier"] as const;
export type Provider = (typeof PROVIDERS)[number];

export interface ProviderState {
  readonly state: "up" | "down";
  readonly since: Date;
}

/** The providers that were ever switched; the others are up. @throws {DatabaseError} */
export async function findProviderStates(database: Database): Promise<Map<string, ProviderState>> {
  const rows = await database.query((queries) => queries.select().from(providerStates));
  return new Map(rows.map(({ provider, state, since }) => [provider, { state, since }]));
}

/** Switches a simulated provider for all workers. @throws {DatabaseError} */
export async function setProviderState(
  database: Database,
  provider: Provider,
  state: "up" | "down",
): Promise<void> {
  const since = new Date();
  await database.query((queries) =>
    queries
      .insert(providerStates)
      .values({ provider, state, since })
      .onDuplicateKeyUpdate({ set: { state, since } }),
  );
}
