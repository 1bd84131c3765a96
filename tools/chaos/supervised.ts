import { writeFileSync } from "node:fs";
import path from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { pathToFileURL } from "node:url";
import { Failure } from "../shared/failure.ts";
import { spawnGuarded, type GuardedProcess } from "../launcher/guard.ts";
import { LogFile } from "../launcher/log-file.ts";

/** Lets a process's clock be wrong. */
const SHIFTED_CLOCK = pathToFileURL(path.resolve(import.meta.dirname, "../shared/shifted-clock.mjs")).href;
/** First and longest delay before a restart; reset once the process has run for a while. */
const FIRST_PAUSE_MS = 200;
const LONGEST_PAUSE_MS = 4_000;
const RAN_WELL_MS = 10_000;
const STOP_DEADLINE_MS = 20_000;
const POLL_MS = 50;

/** Ends a process: at once, or once it has finished what it does. */
export type EndingSignal = "SIGKILL" | "SIGTERM";

export interface SupervisedOptions {
  /** "worker-2"; also the name of its log. */
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
  readonly env: NodeJS.ProcessEnv;
  readonly cwd: string;
  readonly logFile: string;
  /** A file with the milliseconds by which its clock is ahead. */
  readonly clockFile: string;
  /** What the process logs when it is up. */
  readonly readyMessage: string;
  /** The processes that must outlive it. */
  readonly needs: () => readonly GuardedProcess[];
}

/** A process that is restarted whenever it exits, as by a container's restart policy or `npm start`. */
export class Supervised {
  readonly name: string;
  readonly #options: SupervisedOptions;
  readonly #log: LogFile;
  #child: GuardedProcess | undefined;
  #isReady = false;
  #isHeld = false;
  #isStopped = false;
  #pause = FIRST_PAUSE_MS;
  #ended: { readonly child: GuardedProcess | undefined; readonly by: EndingSignal } | undefined;
  /** When and how it exited unasked, or was not through when it exited. */
  readonly ownEnds: string[] = [];

  constructor(options: SupervisedOptions) {
    this.name = options.name;
    this.#options = options;
    this.#log = new LogFile(options.logFile, (line) => {
      if (line.includes(`"msg":"${options.readyMessage}"`)) this.#isReady = true;
    });
  }

  /** The pid of the current or last process. */
  get pid(): number | undefined {
    return this.#child?.pid;
  }

  /** Starts the process, and restarts it whenever it exits. */
  start(): void {
    void this.#keepRunning();
  }

  /** Sends a signal; does nothing if the process is not running. */
  signal(signal: NodeJS.Signals): void {
    if (signal === "SIGKILL" || signal === "SIGTERM") this.#ended = { child: this.#child, by: signal };
    this.#child?.kill(signal);
  }

  /** Sets its clock so many milliseconds ahead, also after a restart. */
  shiftClock(ms: number): void {
    writeFileSync(this.#options.clockFile, String(ms));
  }

  /** Ends the process and prevents restarts until {@link release}. Resolves when it has exited. */
  async hold(by: EndingSignal): Promise<void> {
    this.#isHeld = true;
    this.signal(by);
    await this.#child?.exited;
  }

  /** Allows restarts again. */
  release(): void {
    this.#isHeld = false;
  }

  /** Waits until the current or next process is ready. @throws {Failure} after `withinMs` */
  async ready(withinMs = 60_000): Promise<void> {
    const deadline = Date.now() + withinMs;
    while (!this.#isReady || this.#child?.running !== true) {
      if (this.#isStopped) return;
      if (Date.now() > deadline)
        throw new Failure(`${this.name} is not ready after ${withinMs / 1_000} s: ${this.#log.path}`);
      this.#log.poll();
      await delay(POLL_MS);
    }
  }

  /** Stops the process for good, as a deploy does; kills it if it does not react. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    // A frozen process would not get SIGTERM.
    this.signal("SIGCONT");
    await this.#child?.stop(STOP_DEADLINE_MS);
    this.#log.close();
  }

  async #keepRunning(): Promise<void> {
    while (!this.#isStopped) {
      if (this.#isHeld) {
        await delay(POLL_MS);
        continue;
      }
      const startedAt = Date.now();
      const child = this.#spawn();
      const { code, signal } = await child.exited;
      if (this.#isStopped) return;
      const by = this.#ended?.child === child ? this.#ended.by : undefined;
      if (by === "SIGKILL" || (by === "SIGTERM" && code === 0)) this.#pause = FIRST_PAUSE_MS;
      else this.ownEnds.push(`${new Date().toISOString()} ${signal ?? `exit code ${code}`}`);
      if (Date.now() - startedAt > RAN_WELL_MS) this.#pause = FIRST_PAUSE_MS;
      await delay(this.#pause);
      this.#pause = Math.min(LONGEST_PAUSE_MS, this.#pause * 2);
    }
  }

  #spawn(): GuardedProcess {
    const { command, args, env, cwd, clockFile, needs } = this.#options;
    // Don't take the previous process's message for this one's.
    this.#log.poll();
    this.#isReady = false;
    this.#log.note(JSON.stringify({ msg: "started by the supervisor", at: new Date().toISOString() }));
    this.#child = spawnGuarded(command, [...args], {
      cwd,
      env: { ...env, NODE_OPTIONS: `--import ${SHIFTED_CLOCK}`, CLOCK_SHIFT_FILE: clockFile },
      graceSeconds: STOP_DEADLINE_MS / 1_000,
      needs: needs(),
      output: this.#log.fd,
    });
    return this.#child;
  }
}
