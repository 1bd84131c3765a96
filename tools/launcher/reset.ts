import { existsSync, rmSync } from "node:fs";
import { createInterface } from "node:readline/promises";
import { Children } from "./children.ts";
import { Failure } from "../shared/failure.ts";
import { LOCAL } from "./local-folder.ts";
import { tryLock } from "./lock.js";
import { CommandFailed } from "./run.ts";
import { removeComposeData } from "./servers/compose.ts";
import { StateFile } from "./state.ts";
import { say, sayFailure } from "./terminal.ts";

/** `npm run reset`: wipes this folder's orders, stock and jobs. Programs, ports and keys stay. */
async function reset(args: string[]): Promise<void> {
  const [option, ...rest] = args;
  if ((option !== undefined && option !== "--yes") || rest.length > 0) {
    throw new Failure("usage: npm run reset [-- --yes]");
  }
  const lock = tryLock(LOCAL.lock);
  if ("owner" in lock) {
    throw new Failure(
      `Conveyor is running in this folder (process ${lock.owner.pid}): stop it first, with Ctrl-C there`,
    );
  }
  try {
    const state = new StateFile();
    const project = state.state.composeProject;
    if (!existsSync(LOCAL.data) && project === undefined) return say("There is no data to wipe");
    if (option !== "--yes" && !(await confirm())) return say("Nothing was wiped");
    await new Children(state).endLeftovers(() => say("Waiting for the processes of an earlier run to exit"));
    if (project !== undefined) await removeComposeData(project);
    state.update((remembered) => delete remembered.composeProject);
    rmSync(LOCAL.data, { recursive: true, force: true });
    say("Wiped; npm start begins with an empty shop");
  } finally {
    lock.release();
  }
}

async function confirm(): Promise<boolean> {
  if (!process.stdin.isTTY)
    throw new Failure("No terminal to ask on: npm run reset -- --yes wipes without asking");
  const terminal = createInterface({ input: process.stdin, output: process.stdout });
  try {
    const answer = await terminal.question(`Wipe all orders and stock in ${LOCAL.data}? [y/N] `);
    return /^y(es)?$/i.test(answer.trim());
  } finally {
    terminal.close();
  }
}

await reset(process.argv.slice(2)).catch((error: unknown) => {
  if (!(error instanceof Failure) && !(error instanceof CommandFailed)) throw error;
  sayFailure(error.message, error instanceof CommandFailed ? error.lines.slice(-5) : error.details);
  process.exitCode = 1;
});
