import type { Children } from "../children.ts";
import type { GuardedProcess } from "../guard.ts";
import { supervise } from "../supervise.ts";
import type { Servers, StartedServer } from "./start-servers.ts";

/**
 * Starts the servers that are ours again whenever they end. What uses them goes on running meanwhile, as it would beside
 * any other server that is away. Returns when they are stopped on purpose, at once when none is ours.
 *
 * @throws Failure with the end of its log when one ends again and again
 */
export async function keepServersRunning(
  servers: Servers,
  children: Pick<Children, "stopping">,
): Promise<void> {
  const all = Object.values(servers);
  // Two that run in containers share a process.
  const processes = new Set(all.flatMap((server) => server.process ?? []));
  await Promise.all(
    [...processes].map((child) =>
      keepRunning(
        child,
        all.filter((server) => server.process === child),
        children,
      ),
    ),
  );
}

async function keepRunning(
  process: GuardedProcess,
  servers: readonly StartedServer[],
  children: Pick<Children, "stopping">,
): Promise<void> {
  const [{ log, startAgain } = {}] = servers;
  if (!log || !startAgain) return;
  await supervise(
    {
      name: servers.map((server) => server.version).join(" and "),
      process,
      log,
      async startAgain() {
        const again = await startAgain();
        for (const server of servers) server.process = again;
        return again;
      },
    },
    children,
  );
}
