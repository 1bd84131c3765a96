import type { Server } from "node:http";
import { StartupError } from "./startup.ts";

/**
 * Makes a server listen.
 *
 * @param where `variable`: the variable that sets the port, for error messages. Port 0 means any free port.
 * @returns its URL, such as `http://127.0.0.1:3000`. @throws {StartupError}
 */
export function listen(
  server: Server,
  { port, host, variable }: { readonly port: number; readonly host: string; readonly variable: string },
): Promise<string> {
  return new Promise((resolve, reject) => {
    const fail = (error: NodeJS.ErrnoException) => {
      const noAddress = `${host} is not an address of this machine: set HOST to one`;
      const why: Record<string, string> = {
        EADDRINUSE: `port ${port} of ${host} is in use: set ${variable} to another one`,
        EACCES: `this process may not use port ${port}: set ${variable} to 1024 or above`,
        EADDRNOTAVAIL: noAddress,
        ENOTFOUND: noAddress,
        EAI_AGAIN: noAddress,
      };
      reject(new StartupError(why[error.code ?? ""] ?? `cannot listen on ${host}:${port}: ${error.message}`));
    };
    server.once("error", fail);
    server.listen(port, host, () => {
      server.off("error", fail);
      const bound = server.address();
      const boundPort = typeof bound === "object" && bound !== null ? bound.port : port;
      resolve(`http://${host.includes(":") ? `[${host}]` : host}:${boundPort}`);
    });
  });
}
