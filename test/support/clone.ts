import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { spawnGuarded } from "../../tools/launcher/guard.ts";
import { isAlive } from "../../tools/launcher/lock.js";
import { readState, type ChildRecord, type State } from "../../tools/launcher/state.ts";
import { endWithJest } from "./end-with-jest.ts";
import { waitFor } from "./wait-for.ts";

const REPOSITORY = path.resolve(import.meta.dirname, "../..");
/** Not needed to start, or too big to copy. */
const LEFT_OUT = new Set([".git", ".local", "coverage", "dist", "docs", "node_modules", "test"]);
const READY = "Ctrl-C stops everything";

/** A run of one of the launcher's scripts. */
export interface LauncherRun {
  readonly pid: number;
  /** What it has printed so far, on both outputs. */
  output(): string;
  /** Settles with the exit code, null after a signal. */
  readonly ended: Promise<number | null>;
  kill(signal: NodeJS.Signals): void;
}

/** A copy of this project in a folder of its own, with the dependencies and unpacked packages of this one. */
export class Clone {
  readonly folder = mkdtempSync(path.join(os.tmpdir(), "conveyor clone-"));
  readonly #runs: LauncherRun[] = [];

  constructor() {
    for (const name of readdirSync(REPOSITORY)) {
      if (!LEFT_OUT.has(name)) cpSync(path.join(REPOSITORY, name), this.path(name), { recursive: true });
    }
    symlinkSync(path.join(REPOSITORY, "node_modules"), this.path("node_modules"));
    const packages = path.join(REPOSITORY, ".local/packages");
    mkdirSync(packages, { recursive: true });
    mkdirSync(this.path(".local"));
    symlinkSync(packages, this.path(".local/packages"));
    // The same sources: what is compiled already need not be compiled again.
    const build = path.join(REPOSITORY, ".local/build");
    if (existsSync(build))
      cpSync(build, this.path(".local/build"), { recursive: true, verbatimSymlinks: true });
  }

  path(name: string): string {
    return path.join(this.folder, name);
  }

  /**
   * Runs `tools/launcher/<script>.ts`, without the server addresses and ports of the environment.
   *
   * @param wrapper a command that takes the one to run as its last arguments
   */
  run(
    script: "start" | "services" | "reset",
    args: string[] = [],
    env: NodeJS.ProcessEnv = {},
    wrapper: string[] = [],
  ): LauncherRun {
    const command = [process.execPath, "--import", "tsx", this.path(`tools/launcher/${script}.ts`), ...args];
    const [program = "", ...rest] = [...wrapper, ...command];
    let output = "";
    endWithJest();
    const child = spawnGuarded(program, rest, {
      cwd: this.folder,
      env: { PATH: process.env["PATH"], HOME: process.env["HOME"], ...env },
      onLine: (line) => (output += `${line}\n`),
    });
    const run: LauncherRun = {
      pid: child.pid,
      output: () => output,
      ended: child.exited.then(({ code }) => code),
      kill: (signal) => child.kill(signal),
    };
    this.#runs.push(run);
    return run;
  }

  /** Runs it to its end. */
  async runToEnd(...args: Parameters<Clone["run"]>): Promise<{ code: number | null; output: string }> {
    const run = this.run(...args);
    return { code: await run.ended, output: run.output() };
  }

  /** Starts everything, on a free port unless the environment says otherwise, and waits until it is ready. */
  async start(env: NodeJS.ProcessEnv = {}, wrapper: string[] = []): Promise<LauncherRun> {
    const run = this.run("start", [], { PORT: "0", ...env }, wrapper);
    const ended = run.ended.then((code) => {
      throw new Error(`npm start ended with ${code}:\n${run.output()}`);
    });
    await Promise.race([waitFor("npm start to be ready", () => run.output().includes(READY)), ended]);
    return run;
  }

  state(): State {
    const state = readState(this.path(".local/state.json"));
    if (!state) throw new Error("npm start has not run yet");
    return state;
  }

  /** What npm start has started: "api", "worker", "simulators", "mysql", "redis". */
  child(name: string): ChildRecord {
    const child = this.state().children.find((record) => record.name === name);
    if (!child) throw new Error(`no process is named ${name}`);
    return child;
  }

  /** Waits until none of the processes it ever wrote down is left. */
  async untilNothingRuns(): Promise<void> {
    await waitFor("all processes to be gone", () => !this.state().children.some(isAlive));
  }

  /** Ends what still runs, the hard way. */
  async end(): Promise<void> {
    for (const run of this.#runs) run.kill("SIGKILL");
    await Promise.all(this.#runs.splice(0).map((run) => run.ended));
    if (readState(this.path(".local/state.json"))) await this.untilNothingRuns();
  }

  /** Ends what still runs, and removes the folder. */
  async remove(): Promise<void> {
    await this.end();
    rmSync(this.folder, { recursive: true });
  }
}
