import { migrateDatabase } from "../../db/migrate.ts";
import { loadConfig, PROCESSES } from "../../src/composition/config.ts";
import { runMain } from "../../src/platform/startup.ts";

/** `npm run migrate`: migrates the database of DATABASE_URL to this version's schema. */
runMain(async () => {
  const config = loadConfig(PROCESSES.migrate, process.env);
  const applied = await migrateDatabase({ url: config.DATABASE_URL });
  process.stdout.write(applied === 0 ? "the database is up to date\n" : `applied ${applied} migrations\n`);
});
