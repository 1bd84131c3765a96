import type { Redis } from "ioredis";
import type { Database } from "../db/database.ts";
import { listQueueSettings } from "../db/queue-settings.ts";
import { restoreControls } from "../queues/controls.ts";
import type { Queues } from "../queues/queues.ts";
import type { Logger } from "../src/platform/log.ts";
import { describeError } from "../src/platform/describe-error.ts";

/** Milliseconds between two looks: a small table, and one key of Redis. */
const INTERVAL_MS = 2_000;

export interface QueueKeeperOptions {
  readonly database: Database;
  readonly redis: Redis;
  readonly queues: Queues;
  readonly log: Logger;
}

/**
 * Sees to it that Redis has the queues as operators want them: at the start of a worker, after a loss of Redis' data, and
 * when Redis was away while they were changed. Every worker does that; more than one at a time do no harm.
 */
export class QueueKeeper {
  readonly #options: QueueKeeperOptions;
  #timer: NodeJS.Timeout | undefined;
  #round: Promise<void> = Promise.resolve();
  #stopped = false;

  constructor(options: QueueKeeperOptions) {
    this.#options = options;
  }

  /** Resolves after the first look, so that no job is taken before. */
  async start(): Promise<void> {
    await this.#look();
    this.#lookLater();
  }

  /** Ends after the look under way. */
  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    if (this.#options.redis.status === "ready") await this.#round;
  }

  #lookLater(): void {
    if (this.#stopped) return;
    this.#timer = setTimeout(() => {
      this.#round = this.#look().then(() => this.#lookLater());
    }, INTERVAL_MS);
  }

  async #look(): Promise<void> {
    const { database, redis, queues, log } = this.#options;
    try {
      const restored = await restoreControls({ queues, redis }, await listQueueSettings(database));
      if (restored > 0) log.info({ queues: restored }, "Redis lacked operators' settings of queues");
    } catch (error) {
      log.debug({ error: describeError(error) }, "could not look at the settings of the queues");
    }
  }
}
