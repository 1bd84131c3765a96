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
/** Node's arguments to run TypeScript sources with the service's flags. */
export const TSX_FLAGS = [...SERVICE_FLAGS, "--import", "tsx"];

export interface ProcessOptions {
  /** "api", "worker-2"; also the name of its log. */
  readonly name: string;
  /** Node's arguments: flags, script and the script's arguments. */
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly logFolder: string;
  /** What the process logs when it is up. */
  readonly readyMessage: string;
  /** The processes that must outlive it. */
  readonly needs: readonly GuardedProcess[];
}

/** A process under test, with its log in a file. */
export class BenchProcess {
  readonly name: string;
  /** The log entry it was ready with. */
  readonly ready: Readonly<Record<string, unknown>>;
  readonly #child: GuardedProcess;
  readonly #log: string;

  private constructor(name: string, child: GuardedProcess, log: string, ready: Record<string, unknown>) {
    this.name = name;
    this.#child = child;
    this.#log = log;
    this.ready = ready;
  }

  /** Starts a process and waits until it is ready. @throws {Failure} with the end of its log */
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
      // The process keeps writing to the log; don't read it while measuring.
      log.close();
    }
  }

  get pid(): number {
    return this.#child.pid;
  }

  /** @throws {Failure} if the process has exited, which invalidates the measurement */
  assertRunning(): void {
    if (!this.#child.running) throw new Failure(`${this.name} exited while being measured: ${this.#log}`);
  }

  /** Stops the process, as a deploy does. */
  async stop(): Promise<void> {
    await this.#child.stop(STOP_DEADLINE_MS);
  }
}

/** Length of a kernel clock tick: Linux has 100 per second. */
const TICK_MS = 10;

/** Milliseconds of CPU used by all threads of a process, in user and system mode; NaN without /proc. */
export function cpuMsOf(pid: number): number {
  try {
    // Skip the name in parentheses, which may contain anything: state is field 3, utime 14, stime 15.
    const fields = readFileSync(`/proc/${pid}/stat`, "utf8")
      .replace(/^.*\) /s, "")
      .split(" ");
    return (Number(fields[11]) + Number(fields[12])) * TICK_MS;
  } catch {
    return Number.NaN;
  }
}
