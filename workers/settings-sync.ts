import type { Redis } from "ioredis";
import type { Database } from "../db/database.ts";
import { listQueueSettings } from "../db/queue-settings.ts";
import { restoreControls } from "../queues/controls.ts";
import type { Queues } from "../queues/queues.ts";
import type { Logger } from "../src/platform/log.ts";
import type { Service } from "../src/platform/service.ts";
import { describeError } from "../src/platform/describe-error.ts";
import { Repeat } from "../src/platform/repeat.ts";

/** Milliseconds between two checks. A check reads a small table and one key of Redis. */
const INTERVAL_MS = 2_000;

export interface SettingsSyncOptions {
  readonly database: Database;
  readonly redis: Redis;
  readonly queues: Queues;
  readonly log: Logger;
}

/**
 * Keeps the settings of the queues in Redis as operators want them: when a worker starts, after Redis has lost its data,
 * and when Redis was away while they were changed. Every worker does this; several at a time do no harm.
 */
export class SettingsSync implements Service {
  readonly name = "settings sync";
  readonly #options: SettingsSyncOptions;
  readonly #checks = new Repeat({
    run: () => this.#check(),
    everyMs: INTERVAL_MS,
    onError: (error) =>
      this.#options.log.debug({ error: describeError(error) }, "could not read the queue settings"),
  });

  constructor(options: SettingsSyncOptions) {
    this.#options = options;
  }

  /** Resolves after the first check, so that no job is taken before it. */
  async start(): Promise<void> {
    this.#checks.start();
    await this.#checks.firstRun;
  }

  /** Ends after the check under way. */
  async stop(): Promise<void> {
    const stopped = this.#checks.stop();
    // Otherwise its commands wait for Redis.
    if (this.#options.redis.status === "ready") await stopped;
  }

  async #check(): Promise<void> {
    const { database, redis, queues, log } = this.#options;
    const restored = await restoreControls({ queues, redis }, await listQueueSettings(database));
    if (restored > 0) log.info({ queues: restored }, "restored the queue settings in Redis");
  }
}
