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
  /** Seconds between SIGTERM and SIGKILL once this process has exited. */
  graceSeconds?: number;
  /**
   * Processes that this one uses, which are therefore kept alive until it has exited. One that is restarted
   * later is not covered: if this process is killed, both get SIGTERM at the same time.
   */
  needs?: readonly GuardedProcess[];
  /** Called with each line of stdout and stderr. Excludes `output`. */
  onLine?: (line: string) => void;
  /** A file descriptor for stdout and stderr. Without this and `onLine`, both are discarded. */
  output?: number;
}

/** Our ends of the pipes: a guard acts once nobody holds its pipe. */
const lifelines = new WeakMap<GuardedProcess, Stream>();

/** A child process that can't outlive this one, even if this one gets SIGKILL. */
export interface GuardedProcess {
  readonly pid: number;
  /** Resolves when the process has exited; never rejects. */
  readonly exited: Promise<ExitStatus>;
  readonly running: boolean;
  /** Sends a signal; SIGKILL goes to the whole process group. Does nothing once the process has exited. */
  kill(signal: NodeJS.Signals): void;
  /** Sends SIGTERM, then SIGKILL if the process still runs after `deadlineMs`. Resolves when it has exited. */
  stop(deadlineMs: number): Promise<ExitStatus>;
}

/**
 * Starts a command under the guard (guard.sh), in its own session: Ctrl-C reaches only this process, which then
 * stops its children in order.
 *
 * @throws Error if the shell can't be started; an unknown command exits with code 127.
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
  // With pipes, wait for the last bytes ("close"); the guard closes its copies when it exits.
  const exited = new Promise<ExitStatus>((resolve) => {
    child.once(options.onLine ? "close" : "exit", (code, signal) => resolve({ code, signal }));
  });
  child.once("exit", () => {
    running = false;
    // To the guard this looks like the owner's exit, so it kills what is left of the group,
    lifeline?.destroy();
    // unless another child also holds the lifeline. While the guard runs, no other group can get this id.
    killGroup(pid);
  });

  function kill(signal: NodeJS.Signals): void {
    if (!running) return;
    if (signal === "SIGKILL") return killGroup(pid);
    try {
      process.kill(pid, signal);
    } catch {
      // It exited between the check and the signal.
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
    // It has already exited.
  }
}

/** The lifelines for another child to hold as well. Those of exited processes are closed, and left out. */
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
