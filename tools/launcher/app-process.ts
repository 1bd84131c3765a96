import path from "node:path";
import { createLogDigest } from "./app-log.ts";
import type { ChildKind, Children } from "./children.ts";
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
  /** "app" unless the others use it. */
  kind?: ChildKind;
  /** Checked, when given, once the process has logged `readyMessage`. */
  isReady?: () => Promise<boolean>;
  /** "api", "worker" or "simulators"; also the name of its log. */
  name: string;
  /** What the process logs when it is up. Probing its port is not enough: another process might answer there. */
  readyMessage: string;
  /** The processes of the servers that it uses and that we started, read each time it starts. */
  servers: () => readonly GuardedProcess[];
  /** JavaScript file to run. */
  script: string;
}

/** The API, a worker or the simulated providers: started, watched, and restarted when it exits unexpectedly. */
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

  /** @throws Failure with the end of the log if it does not become ready */
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
   * Restarts the process whenever it exits, after a growing delay. Returns once it is stopped on purpose.
   *
   * @throws Failure with the end of the log if it keeps exiting
   */
  async keepRunning(): Promise<void> {
    if (!this.#child) return;
    const { children, name } = this.#options;
    const restart = (): GuardedProcess => this.#spawn();
    await supervise({ name, process: this.#child, log: this.#log, restart }, children);
  }

  #spawn(): GuardedProcess {
    const { children, env, kind = "app", name, script, servers } = this.#options;
    const child = spawnGuarded(process.execPath, [...SERVICE_FLAGS, script], {
      cwd: PROJECT_FOLDER,
      env: { ...process.env, ...env },
      graceSeconds: GRACE_SECONDS,
      needs: servers(),
      output: this.#log.fd,
    });
    children.add(name, kind, child);
    return child;
  }
}
