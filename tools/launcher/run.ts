import { spawnGuarded } from "./guard.ts";

export interface RunOptions {
  env?: NodeJS.ProcessEnv;
  /** Hears each line of output as it comes. */
  onLine?: (line: string) => void;
}

/** A command that ended with something else than success; `lines` is what it printed. */
export class CommandFailed extends Error {
  override name = "CommandFailed";
  readonly lines: string[];

  constructor(command: string, outcome: string, lines: string[]) {
    super(`${command} failed (${outcome})`);
    this.lines = lines;
  }
}

/**
 * Runs a command to its end and returns the lines it printed on stdout and stderr.
 *
 * @throws CommandFailed when it ends with anything but exit code 0.
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
