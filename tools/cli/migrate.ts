import { Database } from "../../db/database.ts";
import { migrateDatabase } from "../../db/migrate.ts";
import { configure, PROCESSES } from "../../src/composition/config.ts";
import { putPipelineInForce } from "../../src/composition/rollout.ts";
import { runMain } from "../../src/platform/startup.ts";
import { hasOldBooks } from "../simulators/takeover.ts";

/** They move to whoever answers for them now: see docs/providers.md. */
const OLD_BOOKS =
  "provider_ledger has the books of providers that an earlier version simulated: before any worker runs, start them with this DATABASE_URL (npm run simulators), which moves the books";

/** `npm run migrate`: migrates the database of DATABASE_URL to this version's schema. */
runMain(async () => {
  const config = await configure(PROCESSES.migrate, process.env);
  const startedAt = performance.now();
  const applied = await migrateDatabase(
    { url: config.DATABASE_URL },
    {
      onBusy: (seconds) =>
        process.stdout.write(
          `a table that the migration changes is in use, by a backup or another long transaction: waited ${seconds} s, trying again\n`,
        ),
    },
  );
  await announcePipeline(config.DATABASE_URL);
  if (await hasOldBooks(config.DATABASE_URL)) process.stdout.write(`${OLD_BOOKS}\n`);
  const seconds = ((performance.now() - startedAt) / 1_000).toFixed(1);
  process.stdout.write(
    applied === 0 ? "the database is up to date\n" : `applied ${applied} migrations in ${seconds} s\n`,
  );
});

/** Puts the pipeline of this version and configuration in force. */
async function announcePipeline(url: string): Promise<void> {
  const database = new Database({ url, poolSize: 1 });
  try {
    await putPipelineInForce(database);
  } finally {
    await database.close();
  }
}
