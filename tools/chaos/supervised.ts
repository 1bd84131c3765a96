import { setTimeout as delay } from "node:timers/promises";
import { Failure } from "../shared/failure.ts";
import { spawnGuarded, type GuardedProcess } from "../launcher/guard.ts";
import { LogFile } from "../launcher/log-file.ts";

/** Waits before it is started again: the first, and the longest; one that ran for a while begins anew. */
const FIRST_PAUSE_MS = 200;
const LONGEST_PAUSE_MS = 4_000;
const RAN_WELL_MS = 10_000;
const STOP_DEADLINE_MS = 20_000;
const POLL_MS = 50;

export interface SupervisedOptions {
  /** "worker-2": its log is named after it. */
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
  readonly env: NodeJS.ProcessEnv;
  readonly cwd: string;
  readonly logFile: string;
  /** What it logs when it is up. */
  readonly readyMessage: string;
  /** What must end after it. */
  readonly needs: () => readonly GuardedProcess[];
}

/** A process that is started again whenever it ends, as a container's restart policy or `npm start` does. */
export class Supervised {
  readonly name: string;
  readonly #options: SupervisedOptions;
  readonly #log: LogFile;
  #child: GuardedProcess | undefined;
  #isReady = false;
  #isHeld = false;
  #isStopped = false;
  #pause = FIRST_PAUSE_MS;
  #meant: GuardedProcess | undefined;
  /** How often it ended though nobody had killed it: it gave itself up, or crashed. */
  readonly ownEnds: string[] = [];

  constructor(options: SupervisedOptions) {
    this.name = options.name;
    this.#options = options;
    this.#log = new LogFile(options.logFile, (line) => {
      if (line.includes(`"msg":"${options.readyMessage}"`)) this.#isReady = true;
    });
  }

  /** Of the process that runs now, or ran last. */
  get pid(): number | undefined {
    return this.#child?.pid;
  }

  /** Starts it, and from now on again when it ends. */
  start(): void {
    void this.#keepRunning();
  }

  /** Sends a signal; nothing happens when it does not run. */
  signal(signal: NodeJS.Signals): void {
    if (signal === "SIGKILL") this.#meant = this.#child;
    this.#child?.kill(signal);
  }

  /** Kills it, and keeps it from being started again until {@link release}. Resolves when it is gone. */
  async hold(): Promise<void> {
    this.#isHeld = true;
    this.signal("SIGKILL");
    await this.#child?.exited;
  }

  /** Lets it be started again. */
  release(): void {
    this.#isHeld = false;
  }

  /** Waits until the process that runs now, or the next one, has said that it is ready. @throws {Failure} in the end. */
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

  /** Ends it for good, as a deploy does; one that does not listen is killed. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    // One that was frozen could not hear the rest.
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
      if (this.#meant === child) this.#pause = FIRST_PAUSE_MS;
      else this.ownEnds.push(`${new Date().toISOString()} ${signal ?? `exit code ${code}`}`);
      if (Date.now() - startedAt > RAN_WELL_MS) this.#pause = FIRST_PAUSE_MS;
      await delay(this.#pause);
      this.#pause = Math.min(LONGEST_PAUSE_MS, this.#pause * 2);
    }
  }

  #spawn(): GuardedProcess {
    const { command, args, env, cwd, needs } = this.#options;
    // What the one before has written is not to be taken for the word of this one.
    this.#log.poll();
    this.#isReady = false;
    this.#log.note(JSON.stringify({ msg: "started by the supervisor", at: new Date().toISOString() }));
    this.#child = spawnGuarded(command, [...args], {
      cwd,
      env,
      graceSeconds: STOP_DEADLINE_MS / 1_000,
      needs: needs(),
      output: this.#log.fd,
    });
    return this.#child;
  }
}
