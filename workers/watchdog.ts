import type { Backlog } from "../queues/backlog.ts";
import type { Logger } from "../src/platform/log.ts";
import type { Service } from "../src/platform/service.ts";
import type { StageSettings } from "../src/order/stage.ts";
import { describeError } from "../src/platform/describe-error.ts";
import { Repeat } from "../src/platform/repeat.ts";

/** Looks in a row that must find the same: a busy queue whose jobs others take is no proof. */
const LOOKS = 6;
/**
 * Milliseconds within which workers that are well put back what was taken and is held by nobody: some rounds of the check
 * for stalled jobs (stage-worker.ts).
 */
const PUT_BACK_MS = 30_000;
/** What the last log line gets to leave the process. */
const FLUSH_MS = 1_000;

/** A stage's worker, as far as it matters whether it is stuck. */
export interface Watched {
  readonly name: string;
  readonly settings: Pick<StageSettings, "timeout" | "rateLimit">;
  /** Whether it takes no jobs on purpose. */
  readonly isPaused: boolean;
  /** Jobs that it works on. */
  readonly held: number;
  /** Changes whenever a job begins or ends. */
  readonly progressAt: number;
}

export interface WatchdogOptions {
  /** Asks what there is to do, over a new connection each time. @throws {Error} when Redis does not answer. */
  readonly readBacklogs: (workers: readonly Watched[]) => Promise<readonly Backlog[]>;
  readonly workers: readonly Watched[];
  readonly log: Logger;
  /** Milliseconds without progress, while jobs wait, after which a worker counts as stuck; at least twice a stage's timeout. */
  readonly afterMs: number;
  /** Ends the process; for tests. */
  readonly exit?: () => void;
}

/**
 * Ends the process when one of its workers is stuck: it has begun no job and ended none for a while, although there is
 * work for it. A connection that leads nowhere any more, as after the failure of a router, is given up by itself after
 * some seconds of silence (queues/connection.ts). This is for whatever else makes a worker wait for ever, and has no name
 * yet: BullMQ's fetching has been parked by outages more than once. There is nothing to be mended from inside, and a
 * supervisor (`npm start`, compose, systemd) starts the process again. It does not end in the orderly way, which would
 * wait for the same; the jobs in hand are taken up again when their locks have run out.
 *
 * There is work when the worker holds jobs, when the queue has jobs that may be taken, or when jobs lie about that were
 * taken and that nobody holds. It is asked over a new connection each time, and only about workers that got nothing done
 * since the look before. When that connection gets no answer either, Redis is away for everybody, and starting again
 * would not help.
 *
 * A process whose event loop is blocked, by an endless loop in a stage, can't see that by itself. Then its locks run out
 * as well, since nothing renews them, and other workers put its jobs back and take them; the process itself has to be ended
 * by somebody else.
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
      onError: (error) => options.log.warn({ error: describeError(error) }, "could not watch"),
    });
    this.#suspects = options.workers.map((worker) => {
      // What takes its time is not stuck: an attempt may take as long as the stage's timeout, and some more.
      const afterMs = Math.max(options.afterMs, 2 * worker.settings.timeout);
      return new Suspect(worker, {
        beside: Math.ceil(afterMs / this.#intervalMs),
        besideAbandoned: Math.ceil(Math.max(afterMs, PUT_BACK_MS) / this.#intervalMs),
      });
    });
  }

  /** Looks from now on. */
  start(): void {
    this.#looks.start(this.#intervalMs);
  }

  /** Looks no more: a worker that shuts down takes no jobs. */
  stop(): void {
    this.#stopped = true;
    void this.#looks.stop();
  }

  /** Looks once, and ends the process when it has found a stuck worker often enough. */
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

  /** @returns undefined when Redis does not answer. */
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

/** One worker, and in how many looks in a row it did nothing beside work. */
class Suspect {
  readonly worker: Watched;
  readonly #needed: { readonly beside: number; readonly besideAbandoned: number };
  #progressAt: number | undefined;
  #backlog: Backlog | undefined;
  #beside = 0;
  #besideAbandoned = 0;

  /** @param needed how many looks prove it, beside jobs that wait or don't end, and beside abandoned ones. */
  constructor(worker: Watched, needed: { readonly beside: number; readonly besideAbandoned: number }) {
    this.worker = worker;
    this.#needed = needed;
  }

  /** How often it was seen like that by now. */
  get looks(): number {
    return Math.max(this.#beside, this.#besideAbandoned);
  }

  /** What there was to do at the last look. */
  get backlog(): Backlog | undefined {
    return this.#backlog;
  }

  /** Whether no job began or ended since this was last asked, though it should take jobs. If not, counting starts anew. */
  isIdle(): boolean {
    const { isPaused, progressAt } = this.worker;
    const idle = !isPaused && progressAt === this.#progressAt;
    this.#progressAt = progressAt;
    if (!idle) this.#startAnew();
    return idle;
  }

  /** Takes in what there is to do, undefined when that can't be said. @returns whether the worker is stuck. */
  judge(backlog: Backlog | undefined): boolean {
    this.#backlog = backlog;
    if (backlog === undefined) this.#startAnew();
    // It may have got on while Redis was asked.
    else if (this.isIdle()) {
      this.#beside = backlog.ready > 0 || this.worker.held > 0 ? this.#beside + 1 : 0;
      this.#besideAbandoned = backlog.abandoned > 0 ? this.#besideAbandoned + 1 : 0;
    }
    return this.#beside >= this.#needed.beside || this.#besideAbandoned >= this.#needed.besideAbandoned;
  }

  #startAnew(): void {
    this.#beside = 0;
    this.#besideAbandoned = 0;
  }
}

/** Exits when what was logged is written, or can't be. */
function exitSoon(): void {
  const exit = (): void => process.exit(1);
  process.stdout.write("", exit);
  setTimeout(exit, FLUSH_MS);
}
