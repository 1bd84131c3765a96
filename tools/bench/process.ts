import { readFileSync } from "node:fs";
import path from "node:path";
import { Failure } from "../shared/failure.ts";
import { spawnGuarded, type GuardedProcess } from "../launcher/guard.ts";
import { SERVICE_FLAGS } from "../launcher/node-flags.ts";
import { LogFile } from "../launcher/log-file.ts";
import { PROJECT_FOLDER } from "../launcher/local-folder.ts";
import { untilReady } from "../launcher/ready.ts";

const READY_TIMEOUT_MS = 60_000;
const STOP_DEADLINE_MS = 20_000;
/** Node's arguments for TypeScript as it is, under the same conditions as the service. */
export const AS_IT_IS = [...SERVICE_FLAGS, "--import", "tsx"];

export interface ProcessOptions {
  /** "api", "worker-2": its log is named after it. */
  readonly name: string;
  /** For Node: flags, script and the script's own arguments. */
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly logFolder: string;
  /** What it logs when it is up. */
  readonly readyMessage: string;
  /** What must end after it. */
  readonly needs: readonly GuardedProcess[];
}

/** A process under test, with its log in a file. */
export class BenchProcess {
  readonly name: string;
  /** What it logged when it was up. */
  readonly ready: Readonly<Record<string, unknown>>;
  readonly #child: GuardedProcess;
  readonly #log: string;

  private constructor(name: string, child: GuardedProcess, log: string, ready: Record<string, unknown>) {
    this.name = name;
    this.#child = child;
    this.#log = log;
    this.ready = ready;
  }

  /** Starts one and waits until it is up. @throws {Failure} with the end of its log. */
  static async start(options: ProcessOptions): Promise<BenchProcess> {
    const { name, logFolder, readyMessage } = options;
    let ready: Record<string, unknown> | undefined;
    const log = new LogFile(path.join(logFolder, `${name}.log`), (line) => {
      if (line.includes(`"msg":"${readyMessage}"`)) ready = { ...JSON.parse(line) };
    });
    const child = spawnGuarded(process.execPath, [...options.args], {
      cwd: PROJECT_FOLDER,
      env: { PATH: process.env["PATH"], ...options.env },
      graceSeconds: STOP_DEADLINE_MS / 1_000,
      needs: options.needs,
      output: log.fd,
    });
    try {
      const said = await untilReady({ name, process: child, log, timeoutMs: READY_TIMEOUT_MS }, async () => {
        log.poll();
        return ready;
      });
      return new BenchProcess(name, child, log.path, said);
    } catch (error) {
      child.kill("SIGKILL");
      throw error;
    } finally {
      // It writes on; nobody reads along while something is measured.
      log.close();
    }
  }

  get pid(): number {
    return this.#child.pid;
  }

  /** @throws {Failure} when it has ended: what was measured since means nothing. */
  assertRunning(): void {
    if (!this.#child.running) throw new Failure(`${this.name} ended while it was measured: ${this.#log}`);
  }

  /** Ends it as a deploy does. */
  async stop(): Promise<void> {
    await this.#child.stop(STOP_DEADLINE_MS);
  }
}

/** Clock ticks of the kernel a second: 100 on every Linux. */
const TICK_MS = 10;

/**
 * Milliseconds of CPU that processes have used, all threads, in user and system mode. Undefined where there is no /proc.
 */
export function cpuMsOf(pids: readonly number[]): number | undefined {
  let ticks = 0;
  for (const pid of pids) {
    try {
      // After the name in brackets, which may hold anything: state is field 3, utime 14 and stime 15.
      const fields = readFileSync(`/proc/${pid}/stat`, "utf8")
        .replace(/^.*\) /s, "")
        .split(" ");
      ticks += Number(fields[11]) + Number(fields[12]);
    } catch {
      return undefined;
    }
  }
  return ticks * TICK_MS;
}
