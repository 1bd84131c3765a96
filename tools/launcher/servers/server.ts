import type { GuardedProcess } from "../guard.ts";
import type { LogFile } from "../log-file.ts";

/** A server that was started, or found, and answers. */
export interface Server {
  /** With user and password. */
  url: string;
  /** "MariaDB 10.11.6": what answers, as it names itself. */
  version: string;
  /** Set when the data lies in this folder, where no other server uses it. */
  dataFolder?: string;
  /** Undefined for a server that is not ours to stop; the same for two that run in containers. */
  process?: GuardedProcess;
  /** What `process` writes. */
  log?: LogFile;
}

/** The server could not listen: another process was faster. A further try with another port helps. */
export class PortTaken extends Error {
  override name = "PortTaken";
}
