import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { connect } from "node:net";
import os from "node:os";
import path from "node:path";
import { freePort } from "../../tools/launcher/ports.ts";
import { waitFor } from "./wait-for.ts";

const REPOSITORY = path.resolve(import.meta.dirname, "../..");
const example = (file: string) => path.join(REPOSITORY, "examples", file);

/** A language that has an example of a stage. */
export interface Language {
  /** Shows that the language is here. */
  readonly probe: readonly string[];
  /** Makes what is run, in the folder. */
  readonly build?: (folder: string) => readonly string[];
  readonly run: (folder: string, port: number) => readonly string[];
}

export const LANGUAGES = {
  Python: { probe: ["python3", "-c", "import sqlite3"], run: () => ["python3", example("stage.py")] },
  Go: {
    probe: ["go", "version"],
    build: (folder) => ["go", "build", "-o", path.join(folder, "stage"), example("stage.go")],
    run: (folder) => [path.join(folder, "stage")],
  },
  PHP: { probe: ["php", "-v"], run: (_, port) => ["php", "-S", `127.0.0.1:${port}`, example("stage.php")] },
  Ruby: { probe: ["ruby", "-r", "webrick", "-e", ""], run: () => ["ruby", example("stage.rb")] },
  TypeScript: {
    probe: [process.execPath, "--version"],
    run: () => [process.execPath, "--import", "tsx", example("stage.ts")],
  },
} satisfies Readonly<Record<string, Language>>;

/** Whether the language is installed. */
export function isHere({ probe }: Language): boolean {
  try {
    execute(probe);
    return true;
  } catch {
    return false;
  }
}

/** The example of a language, running. */
export interface RunningExample {
  readonly url: string;
  /** Kills it, and removes what it has stored. */
  close(): Promise<void>;
}

/** Starts a language's example. @param secrets what it knows */
export async function startExample(
  { build, run }: Language,
  secrets: readonly string[],
): Promise<RunningExample> {
  const folder = mkdtempSync(path.join(os.tmpdir(), "conveyor-stage-"));
  if (build) execute(build(folder));
  const port = await freePort();
  const [command = "", ...args] = run(folder, port);
  const env = { SIGNING_SECRET: secrets.join(" "), PORT: String(port), STATE: path.join(folder, "state") };
  const child = spawn(command, args, { stdio: "ignore", env: { ...process.env, ...env } });
  await waitFor("the example to listen", () => listens(port));
  return {
    url: `http://127.0.0.1:${port}/`,
    async close() {
      if (child.exitCode === null && child.kill("SIGKILL")) await once(child, "exit");
      rmSync(folder, { recursive: true });
    },
  };
}

function execute([command = "", ...args]: readonly string[]): void {
  // Go keeps what it has compiled in a folder of its own.
  const env = { ...process.env, GOCACHE: path.join(os.tmpdir(), "conveyor-go") };
  execFileSync(command, args, { stdio: ["ignore", "ignore", "pipe"], env });
}

function listens(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    const settle = (answer: boolean) => {
      socket.destroy();
      resolve(answer);
    };
    socket.on("connect", () => settle(true)).on("error", () => settle(false));
  });
}
