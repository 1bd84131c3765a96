import type { GuardedProcess } from "../guard.ts";
import type { LogFile } from "../log-file.ts";

/** A server, started or found, that accepts connections. */
export interface Server {
  /** Includes user and password. */
  url: string;
  /** Name and version: "MariaDB 10.11.6". */
  version: string;
  /** Set if the data is in a folder that only this server uses. */
  dataFolder?: string;
  /** Undefined for a server we did not start; servers that run in containers share one. */
  process?: GuardedProcess;
  /** The log of `process`. */
  log?: LogFile;
}

/** Another process took the port first; try again with another. */
export class PortTaken extends Error {
  override name = "PortTaken";
}
