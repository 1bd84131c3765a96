import type { Redis } from "ioredis";
import { connectProducer } from "../queues/connection.ts";
import { configure, PROCESSES } from "../src/composition/config.ts";
import { settleWithin } from "../src/platform/time-limit.ts";
import { runMain, StartupError } from "../src/platform/startup.ts";

/** A healthy worker fetches jobs or renews locks every few seconds; longer silence means that it hangs. */
const MOST_SILENT_S = 30;
const CONNECT_TIMEOUT_MS = 2_000;

/**
 * Health check of a worker in its own container: `node dist/workers/healthcheck.js`. A worker has no port to ask, so
 * this asks Redis when a client at this container's address was last active.
 */
runMain(async () => {
  const { REDIS_URL } = await configure(PROCESSES.worker, process.env);
  const redis = connectProducer(REDIS_URL);
  try {
    await ready(redis);
    const self = fields(await redis.client("INFO"));
    const clients = String(await redis.client("LIST"))
      .trim()
      .split("\n")
      .map(fields);
    const neighbours = clients.filter((client) => client.id !== self.id && client.host === self.host);
    if (neighbours.length === 0) throw new StartupError("the worker has no connection to Redis");
    const silence = Math.min(...neighbours.map((client) => client.idleSeconds));
    if (silence > MOST_SILENT_S) throw new StartupError(`the worker has been silent for ${silence} s`);
  } finally {
    redis.disconnect();
  }
});

async function ready(redis: Redis): Promise<void> {
  const isReady = new Promise<void>((resolve, reject) => {
    redis.once("ready", resolve);
    redis.once("error", reject);
  });
  await settleWithin(CONNECT_TIMEOUT_MS, isReady, () => {
    throw new StartupError("Redis does not answer");
  });
}

/** One line of CLIENT LIST: `id=3 addr=172.18.0.5:41952 name= idle=2 ...` */
function fields(line: string) {
  const values = new Map(
    line.split(" ").map((pair) => [pair.split("=", 1)[0], pair.slice(pair.indexOf("=") + 1)]),
  );
  return {
    id: values.get("id"),
    host: values.get("addr")?.replace(/:\d+$/, ""),
    idleSeconds: Number(values.get("idle")),
  };
}
