import type { Redis } from "ioredis";
import type { Database } from "../db/database.ts";
import { listQueueSettings } from "../db/queue-settings.ts";
import { restoreControls } from "../queues/controls.ts";
import type { Queues } from "../queues/queues.ts";
import type { Logger } from "../src/platform/log.ts";
import type { Service } from "../src/platform/service.ts";
import { describeError } from "../src/platform/describe-error.ts";
import { Repeat } from "../src/platform/repeat.ts";

/** Check interval in milliseconds. A check reads a small table and one Redis key. */
const INTERVAL_MS = 2_000;

export interface SettingsSyncOptions {
  readonly database: Database;
  readonly redis: Redis;
  readonly queues: Queues;
  readonly log: Logger;
}

/**
 * Keeps Redis in line with the queue settings stored in MySQL: at start, after Redis lost its data, and after a change
 * while Redis was away. Every worker does this; several at once do no harm.
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

  /** Resolves after the first check, so that settings apply before any job is taken. */
  async start(): Promise<void> {
    this.#checks.start();
    await this.#checks.firstRun;
  }

  /** Stops after the check under way. */
  async stop(): Promise<void> {
    const stopped = this.#checks.stop();
    // Without Redis its commands would wait.
    if (this.#options.redis.status === "ready") await stopped;
  }

  async #check(): Promise<void> {
    const { database, redis, queues, log } = this.#options;
    const restored = await restoreControls({ queues, redis }, await listQueueSettings(database));
    if (restored > 0) log.info({ queues: restored }, "restored the queue settings in Redis");
  }
}
