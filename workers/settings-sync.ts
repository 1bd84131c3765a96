import type { Connection } from "../queues/connection.ts";
import type { Database } from "../db/database.ts";
import { listQueueSettings } from "../db/queue-settings.ts";
import { restoreControls } from "../queues/controls.ts";
import type { Queues } from "../queues/queues.ts";
import type { Logger } from "../src/platform/log.ts";
import type { Service } from "../src/platform/service.ts";
import { RedisCheck } from "./redis-check.ts";

/** Check interval in milliseconds. A check reads a small table and one Redis key. */
const INTERVAL_MS = 2_000;

export interface SettingsSyncOptions {
  readonly database: Database;
  readonly redis: Connection;
  readonly queues: Queues;
  readonly log: Logger;
}

/**
 * Keeps Redis in line with the queue settings stored in MySQL: at start, after Redis lost its data, and after a change
 * while Redis was away. Every worker does this; several at once do no harm.
 */
export function settingsSync({ database, redis, queues, log }: SettingsSyncOptions): Service {
  return new RedisCheck({
    name: "settings sync",
    redis,
    everyMs: INTERVAL_MS,
    failure: "could not read the queue settings",
    log,
    run: async () => {
      const restored = await restoreControls({ queues, redis }, await listQueueSettings(database));
      if (restored > 0) log.info({ queues: restored }, "restored the queue settings in Redis");
    },
  });
}
