import { execFileSync, spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { connect } from "node:net";
import os from "node:os";
import path from "node:path";
import { afterEach, beforeEach, expect, test } from "@jest/globals";
import { newSecret } from "../../../src/events/webhooks/signature.ts";
import { runSuite } from "../../../tools/contract/suite.ts";
import { freePort } from "../../../tools/launcher/ports.ts";
import { waitFor } from "../../support/wait-for.ts";

const REPOSITORY = path.resolve(import.meta.dirname, "../../..");
const example = (file: string) => path.join(REPOSITORY, "examples", file);

interface Language {
  /** Shows that the language is here. */
  readonly probe: readonly string[];
  /** Makes what is run, in the folder. */
  readonly build?: (folder: string) => readonly string[];
  readonly run: (folder: string, port: number) => readonly string[];
}

const LANGUAGES: Readonly<Record<string, Language>> = {
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
};

let folder: string;
let child: ChildProcess | undefined;
beforeEach(() => {
  folder = mkdtempSync(path.join(os.tmpdir(), "conveyor-stage-"));
});
afterEach(async () => {
  if (child?.exitCode === null && child.kill("SIGKILL")) await once(child, "exit");
  child = undefined;
  rmSync(folder, { recursive: true });
});

function execute([command = "", ...args]: readonly string[]): void {
  // Go keeps what it has compiled in a folder of its own.
  const env = { ...process.env, GOCACHE: path.join(os.tmpdir(), "conveyor-go") };
  execFileSync(command, args, { stdio: ["ignore", "ignore", "pipe"], env });
}

function isHere({ probe }: Language): boolean {
  try {
    execute(probe);
    return true;
  } catch {
    return false;
  }
}

function listens(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    socket.on("connect", () => resolve(true)).on("error", () => resolve(false));
    socket.on("connect", () => socket.destroy());
  });
}

/** Starts a language's example. @returns its URL */
async function start({ build, run }: Language, secrets: readonly string[]): Promise<string> {
  if (build) execute(build(folder));
  const port = await freePort();
  const [command = "", ...args] = run(folder, port);
  const env = { SIGNING_SECRET: secrets.join(" "), PORT: String(port), STATE: path.join(folder, "state") };
  child = spawn(command, args, { stdio: "ignore", env: { ...process.env, ...env } });
  await waitFor("the example to listen", () => listens(port));
  return `http://127.0.0.1:${port}/`;
}

async function faultsOf(url: string, secret: string) {
  const { signal } = new AbortController();
  const order = { total: 2_500, lines: [{ sku: "MUG-BLUE", quantity: 2, unitPrice: 1_250 }] };
  const findings = await runSuite(
    { url, secret, timeoutMs: 8_000, stage: "fraud", order, signal },
    { hasUndo: true },
  );
  return findings.filter(({ result }) => result !== "right");
}

for (const [name, language] of Object.entries(LANGUAGES)) {
  const tried = isHere(language) ? test : test.skip;
  tried(`the example in ${name} keeps the contract, with either secret`, async () => {
    const secrets = [newSecret(), newSecret()];
    const url = await start(language, secrets);
    for (const secret of secrets) expect(await faultsOf(url, secret)).toEqual([]);
  });
}
