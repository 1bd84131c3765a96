import { spawn } from "node:child_process";
import path from "node:path";
import type { Stream } from "node:stream";

const GUARD = path.join(import.meta.dirname, "guard.sh");
const DEFAULT_GRACE_SECONDS = 10;

/** How a process ended: exactly one of the two is set. */
export interface ExitStatus {
  code: number | null;
  signal: NodeJS.Signals | null;
}

export interface GuardedOptions {
  cwd?: string;
  env?: NodeJS.ProcessEnv;
  /** Time between TERM and KILL once this process is gone. */
  graceSeconds?: number;
  /**
   * Processes that this one works with, and that are therefore not to be ended before it. One that is started again later
   * is not among them: when this process is killed, the two are told to end at the same time.
   */
  needs?: readonly GuardedProcess[];
  /** Called with each line of stdout and stderr. Not together with `output`. */
  onLine?: (line: string) => void;
  /** A file descriptor that takes stdout and stderr. Without it and `onLine`, both are dropped. */
  output?: number;
}

/** Our ends of the pipes: a guard acts when nobody holds its pipe any more. */
const lifelines = new WeakMap<GuardedProcess, Stream>();

/** A child process that can't outlive this one, not even if this one is killed with SIGKILL. */
export interface GuardedProcess {
  readonly pid: number;
  /** Settles when the process is gone; never rejects. */
  readonly exited: Promise<ExitStatus>;
  readonly running: boolean;
  /** Sends a signal; SIGKILL goes to all that the process has started as well. Harmless when it is gone. */
  kill(signal: NodeJS.Signals): void;
  /** SIGTERM, and SIGKILL when it still runs after `deadlineMs`. Settles when it is gone. */
  stop(deadlineMs: number): Promise<ExitStatus>;
}

/**
 * Starts a command under the guard (guard.sh), in a session of its own: a Ctrl-C in the terminal reaches this process
 * only, which then decides in which order things end.
 *
 * @throws Error when the shell itself can't be started; an unknown command exits with code 127.
 */
export function spawnGuarded(command: string, args: string[], options: GuardedOptions = {}): GuardedProcess {
  const output = options.onLine ? "pipe" : (options.output ?? "ignore");
  const child = spawn(
    "/bin/sh",
    [GUARD, String(options.graceSeconds ?? DEFAULT_GRACE_SECONDS), command, ...args],
    {
      cwd: options.cwd,
      env: options.env,
      detached: true,
      stdio: ["ignore", output, output, "pipe", ...lifelinesOf(options.needs ?? [])],
    },
  );
  if (child.pid === undefined) {
    child.on("error", () => {});
    throw new Error(`cannot start ${command}`);
  }
  const { pid } = child;

  let running = true;
  const lifeline = child.stdio[3];
  lifeline?.on("error", () => {});
  if (options.onLine) {
    eachLine(child.stdout, options.onLine);
    eachLine(child.stderr, options.onLine);
  }
  // With pipes, wait for their last bytes ("close"); the guard closes its copies when it ends.
  const exited = new Promise<ExitStatus>((resolve) => {
    child.once(options.onLine ? "close" : "exit", (code, signal) => resolve({ code, signal }));
  });
  child.once("exit", () => {
    running = false;
    // The guard takes this for the end of its owner, and clears away what is left of the group,
    lifeline?.destroy();
    // unless another child holds the lifeline too. While the guard is there, no other group has this id.
    killGroup(pid);
  });

  function kill(signal: NodeJS.Signals): void {
    if (!running) return;
    if (signal === "SIGKILL") return killGroup(pid);
    try {
      process.kill(pid, signal);
    } catch {
      // Gone between the check and the signal.
    }
  }

  const guarded: GuardedProcess = {
    pid,
    exited,
    get running() {
      return running;
    },
    kill,
    async stop(deadlineMs) {
      kill("SIGTERM");
      const timer = setTimeout(() => kill("SIGKILL"), deadlineMs);
      const status = await exited;
      clearTimeout(timer);
      return status;
    },
  };
  if (lifeline) lifelines.set(guarded, lifeline);
  return guarded;
}

function killGroup(leader: number): void {
  try {
    process.kill(-leader, "SIGKILL");
  } catch {
    // Gone already.
  }
}

/** To be held by another child too. Those of processes that are gone are closed. */
function lifelinesOf(processes: readonly GuardedProcess[]): Stream[] {
  return processes
    .filter((child) => child.running)
    .map((child) => lifelines.get(child))
    .filter((lifeline) => lifeline !== undefined);
}

function eachLine(stream: NodeJS.ReadableStream | null, onLine: (line: string) => void): void {
  let rest = "";
  stream?.setEncoding("utf8");
  stream?.on("data", (chunk: string) => {
    const lines = (rest + chunk).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) onLine(line);
  });
  stream?.on("end", () => {
    if (rest !== "") onLine(rest);
  });
}
