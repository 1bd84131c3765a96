import { spawn, type ChildProcess } from "node:child_process";
import path from "node:path";
import { waitFor } from "./wait-for.ts";

const REPOSITORY = path.resolve(import.meta.dirname, "../..");
/** Long enough for any command of a test, and the end of one that hangs. */
const DEADLINE_MS = 80_000;

export interface CommandResult {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A command of the project that runs. */
export interface RunningCommand {
  readonly process: ChildProcess;
  readonly ended: Promise<CommandResult>;
  /** Waits until the text stands in stdout or stderr. */
  untilSaid(text: string): Promise<void>;
}

/** Starts a script of `tools/cli/` as `npm run` does, without a terminal. */
export function startCommand(
  script: string,
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): RunningCommand {
  const child = spawn(process.execPath, ["--import", "tsx", script, ...args], {
    cwd: REPOSITORY,
    env: { PATH: process.env["PATH"], ...env },
    stdio: ["ignore", "pipe", "pipe"],
    timeout: DEADLINE_MS,
    killSignal: "SIGKILL",
  });
  let stdout = "";
  let stderr = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => (stdout += text));
  child.stderr.setEncoding("utf8").on("data", (text: string) => (stderr += text));
  const ended = new Promise<CommandResult>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code) => resolve({ code, stdout, stderr }));
  });
  return {
    process: child,
    ended,
    async untilSaid(text) {
      await waitFor(`"${text}" from ${script}`, () => (stdout + stderr).includes(text));
    },
  };
}
