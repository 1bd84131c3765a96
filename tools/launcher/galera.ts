import { createDatabase } from "../chaos/sql.ts";
import { Failure } from "../shared/failure.ts";
import { CommandFailed } from "./run.ts";
import { sayFailure } from "./terminal.ts";
import { startGalera } from "./servers/galera.ts";

/**
 * `npm run galera`: three Galera nodes behind HAProxy until Ctrl-C, with an empty database, to run the service or the
 * benchmark on.
 */
async function main(): Promise<void> {
  const cluster = await startGalera();
  await createDatabase(cluster.url, "conveyor");
  const at = (server: string) => Object.assign(new URL(server), { pathname: "/conveyor" }).href;
  const lines = [
    `DATABASE_URL=${at(cluster.url)}`,
    `DATABASE_READ_URL=${at(cluster.readUrl)}`,
    ...cluster.nodes.map(({ url }, index) => `# node ${index}: ${at(url)}`),
  ];
  process.stdout.write(`${lines.join("\n")}\n`);
  await new Promise<void>((resolve) => {
    for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => resolve());
  });
  await cluster.stop();
}

await main().catch((error: unknown) => {
  if (!(error instanceof Failure) && !(error instanceof CommandFailed)) throw error;
  sayFailure(error.message, error instanceof CommandFailed ? error.lines.slice(-5) : error.details);
  process.exitCode = 1;
});
