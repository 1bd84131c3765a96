import type { Children } from "../children.ts";
import type { GuardedProcess } from "../guard.ts";
import { supervise } from "../supervise.ts";
import type { Servers, StartedServer } from "./start-servers.ts";

/**
 * Restarts our own servers whenever they exit. The API and the worker keep running meanwhile, as they do
 * through any outage. Returns once the servers are stopped on purpose; immediately if none is ours.
 *
 * @throws Failure with the end of the log if a server keeps exiting
 */
export async function keepServersRunning(
  servers: Servers,
  children: Pick<Children, "stopping">,
): Promise<void> {
  const all = Object.values(servers);
  // Servers that run in containers share a process.
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
  const [{ log, restart } = {}] = servers;
  if (!log || !restart) return;
  await supervise(
    {
      name: servers.map((server) => server.version).join(" and "),
      process,
      log,
      async restart() {
        const restarted = await restart();
        for (const server of servers) server.process = restarted;
        return restarted;
      },
    },
    children,
  );
}
