import { spawnGuarded } from "./guard.ts";

export interface RunOptions {
  env?: NodeJS.ProcessEnv;
  /** Called with each line of output as it arrives. */
  onLine?: (line: string) => void;
}

/** A command failed; `lines` is its output. */
export class CommandFailed extends Error {
  override name = "CommandFailed";
  readonly lines: string[];

  constructor(command: string, outcome: string, lines: string[]) {
    super(`${command} failed (${outcome})`);
    this.lines = lines;
  }
}

/**
 * Runs a command and returns the lines it printed to stdout and stderr.
 *
 * @throws CommandFailed if it exits with anything but code 0
 */
export async function run(command: string, args: string[], options: RunOptions = {}): Promise<string[]> {
  const lines: string[] = [];
  const child = spawnGuarded(command, args, {
    env: { ...process.env, ...options.env },
    onLine(line) {
      lines.push(line);
      options.onLine?.(line);
    },
  });
  const { code, signal } = await child.exited;
  if (code === 0) return lines;
  throw new CommandFailed(command, signal ?? `exit code ${code}`, lines);
}
