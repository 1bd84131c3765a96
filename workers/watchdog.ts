import type { Backlog } from "../queues/backlog.ts";
import type { Logger } from "../src/platform/log.ts";
import type { Service } from "../src/platform/service.ts";
import type { StageSettings } from "../src/order/stage.ts";
import { describeError } from "../src/platform/describe-error.ts";
import { Repeat } from "../src/platform/repeat.ts";

/** Consecutive looks that must agree: one look at a busy queue, whose jobs others take, proves nothing. */
const LOOKS = 6;
/**
 * The time in which healthy workers put back abandoned jobs: a few checks for stalled jobs (stage-worker.ts).
 * Milliseconds.
 */
const PUT_BACK_MS = 30_000;
/** How long the last log line may take to be written. */
const FLUSH_MS = 1_000;

/** What the watchdog needs to know of a stage's worker. */
export interface Watched {
  readonly name: string;
  readonly settings: Pick<StageSettings, "timeout" | "rateLimit">;
  /** Whether it is paused deliberately. */
  readonly isPaused: boolean;
  /** Jobs it is running. */
  readonly held: number;
  /** Changes whenever a job starts or ends. */
  readonly progressAt: number;
}

export interface WatchdogOptions {
  /** Reads the backlogs over a new connection. @throws {Error} if Redis does not answer. */
  readonly readBacklogs: (workers: readonly Watched[]) => Promise<readonly Backlog[]>;
  readonly workers: readonly Watched[];
  readonly log: Logger;
  /**
   * A worker counts as stuck after this long without progress while jobs wait; at least twice a stage's timeout.
   * Milliseconds.
   */
  readonly afterMs: number;
  /** Exits the process; replaced in tests. */
  readonly exit?: () => void;
}

/**
 * Exits the process if one of its workers is stuck: no job has started or ended for a while, although there is work.
 * Dead connections are already closed after some seconds of silence (queues/connection.ts). This covers unknown causes:
 * outages have parked BullMQ's fetching more than once. Nothing can be repaired from inside, so a supervisor (`npm
 * start`, compose, systemd) restarts the process. It skips the orderly shutdown, which would hang too; other workers
 * take its jobs once their locks expire.
 *
 * There is work if the worker holds jobs, if the queue has jobs ready, or if jobs were taken that nobody holds. The
 * watchdog asks only about workers without progress since its last look. If its new connection gets no answer either,
 * Redis is away and a restart would not help.
 *
 * A process whose event loop is blocked, such as by an endless loop in a stage, cannot notice. Its locks expire, and
 * other workers take its jobs; someone else has to kill it.
 */
export class Watchdog implements Service {
  readonly name = "watchdog";
  readonly #options: WatchdogOptions;
  readonly #intervalMs: number;
  readonly #suspects: readonly Suspect[];
  readonly #looks: Repeat;
  #stopped = false;

  constructor(options: WatchdogOptions) {
    this.#options = options;
    this.#intervalMs = options.afterMs / LOOKS;
    this.#looks = new Repeat({
      run: () => this.look(),
      everyMs: this.#intervalMs,
      onError: (error) => options.log.warn({ error: describeError(error) }, "watchdog failed"),
    });
    this.#suspects = options.workers.map((worker) => {
      // Slow is not stuck: an attempt may take the stage's timeout, and a bit more.
      const afterMs = Math.max(options.afterMs, 2 * worker.settings.timeout);
      return new Suspect(worker, {
        withWork: Math.ceil(afterMs / this.#intervalMs),
        withAbandoned: Math.ceil(Math.max(afterMs, PUT_BACK_MS) / this.#intervalMs),
      });
    });
  }

  /** Starts looking. */
  start(): void {
    this.#looks.start(this.#intervalMs);
  }

  /** Stops looking, since a worker that shuts down takes no jobs. */
  stop(): void {
    this.#stopped = true;
    void this.#looks.stop();
  }

  /** Looks once, and exits if a worker was found stuck often enough. */
  async look(): Promise<void> {
    const { log, exit = exitSoon } = this.#options;
    const idle = this.#suspects.filter((suspect) => suspect.isIdle());
    const backlogs = await this.#backlogs(idle);
    const stuck = idle.filter((suspect, index) => suspect.judge(backlogs?.[index]));
    log.debug({ idle: idle.length, backlogs }, "watched");
    if (stuck.length === 0 || this.#stopped) return;
    this.stop();
    for (const suspect of stuck) log.error(this.#finding(suspect), "stuck: exiting to be restarted");
    exit();
  }

  /** @returns undefined if Redis does not answer. */
  async #backlogs(suspects: readonly Suspect[]): Promise<readonly Backlog[] | undefined> {
    const { log, readBacklogs } = this.#options;
    if (suspects.length === 0) return [];
    try {
      return await readBacklogs(suspects.map(({ worker }) => worker));
    } catch (error) {
      log.debug({ error: describeError(error) }, "could not read the queues");
      return undefined;
    }
  }

  #finding({ worker, backlog, looks }: Suspect) {
    return {
      stage: worker.name,
      held: worker.held,
      ...backlog,
      seconds: Math.round((looks * this.#intervalMs) / 1_000),
    };
  }
}

/** One worker, and for how many looks in a row it made no progress despite work. */
class Suspect {
  readonly worker: Watched;
  readonly #needed: { readonly withWork: number; readonly withAbandoned: number };
  #progressAt: number | undefined;
  #backlog: Backlog | undefined;
  #withWork = 0;
  #withAbandoned = 0;

  /** @param needed looks that prove it: with jobs that wait or run, and with abandoned jobs. */
  constructor(worker: Watched, needed: { readonly withWork: number; readonly withAbandoned: number }) {
    this.worker = worker;
    this.#needed = needed;
  }

  /** Looks in a row that found it stuck. */
  get looks(): number {
    return Math.max(this.#withWork, this.#withAbandoned);
  }

  /** The backlog at the last look. */
  get backlog(): Backlog | undefined {
    return this.#backlog;
  }

  /** Whether no job started or ended since the last call, though it takes jobs. Otherwise resets the count. */
  isIdle(): boolean {
    const { isPaused, progressAt } = this.worker;
    const idle = !isPaused && progressAt === this.#progressAt;
    this.#progressAt = progressAt;
    if (!idle) this.#reset();
    return idle;
  }

  /** Records the backlog, undefined if unknown. @returns whether the worker is stuck. */
  judge(backlog: Backlog | undefined): boolean {
    this.#backlog = backlog;
    if (backlog === undefined) this.#reset();
    // It may have made progress meanwhile.
    else if (this.isIdle()) {
      this.#withWork = backlog.ready > 0 || this.worker.held > 0 ? this.#withWork + 1 : 0;
      this.#withAbandoned = backlog.abandoned > 0 ? this.#withAbandoned + 1 : 0;
    }
    return this.#withWork >= this.#needed.withWork || this.#withAbandoned >= this.#needed.withAbandoned;
  }

  #reset(): void {
    this.#withWork = 0;
    this.#withAbandoned = 0;
  }
}

/** Exits once the log is flushed, or after a timeout. */
function exitSoon(): void {
  const exit = (): void => process.exit(1);
  process.stdout.write("", exit);
  setTimeout(exit, FLUSH_MS);
}
