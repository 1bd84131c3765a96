import path from "node:path";
import { createLogDigest } from "./app-log.ts";
import type { Children } from "./children.ts";
import { SERVICE_FLAGS } from "./node-flags.ts";
import { spawnGuarded, type GuardedProcess } from "./guard.ts";
import { LOCAL, PROJECT_FOLDER } from "./local-folder.ts";
import { LogFile } from "./log-file.ts";
import { untilReady } from "./ready.ts";
import { supervise } from "./supervise.ts";
import { say } from "./terminal.ts";

const READY_TIMEOUT_MS = 60_000;
const GRACE_SECONDS = 15;

export interface AppOptions {
  children: Children;
  env: NodeJS.ProcessEnv;
  /** Asked, when given, once it has logged that it is up. */
  isReady?: () => Promise<boolean>;
  /** "api", "worker": its log is named after it. */
  name: string;
  /** What it logs when it is up. Asking its port would not do: somebody else might answer there. */
  readyMessage: string;
  /** The servers that it uses, as far as they are ours, and as they run when it is started. */
  servers: () => readonly GuardedProcess[];
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
    this.#child = child;
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
    if (!this.#child) return;
    const { children, name } = this.#options;
    const startAgain = (): GuardedProcess => this.#spawn();
    await supervise({ name, process: this.#child, log: this.#log, startAgain }, children);
  }

  #spawn(): GuardedProcess {
    const { children, env, name, script, servers } = this.#options;
    const child = spawnGuarded(process.execPath, [...SERVICE_FLAGS, script], {
      cwd: PROJECT_FOLDER,
      env: { ...process.env, ...env },
      graceSeconds: GRACE_SECONDS,
      needs: servers(),
      output: this.#log.fd,
    });
    children.add(name, "app", child);
    return child;
  }
}
