import path from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { createLogDigest } from "./app-log.ts";
import type { Children } from "./children.ts";
import { Failure } from "./failure.ts";
import { spawnGuarded, type ExitStatus, type GuardedProcess } from "./guard.ts";
import { LOCAL, PROJECT_FOLDER } from "./local-folder.ts";
import { LogFile } from "./log-file.ts";
import { untilReady } from "./ready.ts";
import { say, yellow } from "./terminal.ts";

const READY_TIMEOUT_MS = 60_000;
const GRACE_SECONDS = 15;
/** So many ends within a minute, and it is given up. */
const MOST_EXITS = 5;
const EXITS_WITHIN_MS = 60_000;
const FIRST_BACKOFF_MS = 500;
const LINES = 15;

export interface AppOptions {
  children: Children;
  env: NodeJS.ProcessEnv;
  /** Asked, when given, once it has logged that it is up. */
  isReady?: () => Promise<boolean>;
  /** "api", "worker": its log is named after it. */
  name: string;
  /** What it logs when it is up. Asking its port would not do: somebody else might answer there. */
  readyMessage: string;
  /** The servers that it uses, as far as they are ours. */
  servers: readonly GuardedProcess[];
  /** JavaScript file to run. */
  script: string;
}

/** One of our own processes: started, watched, and started again when it ends without being asked to. */
export class AppProcess {
  #child: GuardedProcess | undefined;
  #log: LogFile;
  #options: AppOptions;
  #isUp = false;

  constructor(options: AppOptions) {
    const digest = createLogDigest(options.name);
    this.#options = options;
    this.#log = new LogFile(path.join(LOCAL.logs, `${options.name}.log`), (line) => {
      if (line.includes(`"msg":"${options.readyMessage}"`)) this.#isUp = true;
      const shown = digest(line);
      if (shown !== undefined) say(shown);
    });
  }

  /** @throws Failure with the end of the log when it does not become ready */
  async start(): Promise<void> {
    const { name, isReady = () => Promise.resolve(true) } = this.#options;
    const child = this.#spawn();
    await untilReady({ name, process: child, log: this.#log, timeoutMs: READY_TIMEOUT_MS }, async () => {
      this.#log.poll();
      return (this.#isUp && (await isReady())) || undefined;
    });
  }

  /**
   * Starts it again whenever it ends, after a wait that grows. Returns when it is stopped on purpose.
   *
   * @throws Failure with the end of the log when it ends again and again
   */
  async keepRunning(): Promise<void> {
    const { children, name } = this.#options;
    let exits: number[] = [];
    while (this.#child) {
      const status = await this.#child.exited;
      if (children.stopping) return;
      exits = [...exits.filter((time) => time > Date.now() - EXITS_WITHIN_MS), Date.now()];
      if (exits.length >= MOST_EXITS) {
        throw new Failure(
          `${name} ended ${MOST_EXITS} times in a minute: ${this.#log.path}`,
          this.#log.tail(LINES),
        );
      }
      const backoff = FIRST_BACKOFF_MS * 2 ** (exits.length - 1);
      say(
        yellow(
          `! ${name} ended unexpectedly (${describeExit(status)}); starting it again in ${backoff / 1000} s`,
        ),
      );
      await delay(backoff);
      if (children.stopping) return;
      this.#spawn();
    }
  }

  #spawn(): GuardedProcess {
    const { children, env, name, script, servers } = this.#options;
    this.#child = spawnGuarded(process.execPath, ["--enable-source-maps", script], {
      cwd: PROJECT_FOLDER,
      env: { ...process.env, ...env },
      graceSeconds: GRACE_SECONDS,
      needs: servers,
      output: this.#log.fd,
    });
    children.add(name, "app", this.#child);
    return this.#child;
  }
}

/** "exit code 1", "SIGKILL" */
export function describeExit({ code, signal }: ExitStatus): string {
  return signal ?? `exit code ${code}`;
}
