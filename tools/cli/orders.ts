import { once } from "node:events";
import { userInfo } from "node:os";
import { z } from "zod";
import { orderStore } from "../../db/order-store.ts";
import { openBase } from "../../src/composition/base.ts";
import { checkDatabase } from "../../src/composition/check-database.ts";
import { configure, COMMANDS } from "../../src/composition/config.ts";
import { openOperations } from "../../src/composition/operations.ts";
import { openQueues, redisServer } from "../../src/composition/queues.ts";
import { BackgroundCalls } from "../../src/engine/background-calls.ts";
import { Cancellation } from "../../src/engine/cancellation.ts";
import type { Dispatcher } from "../../src/engine/ports.ts";
import { WebhookEndpoints } from "../../src/events/webhooks/endpoints.ts";
import { Networks } from "../../src/events/webhooks/networks.ts";
import { lifecycle } from "../../src/order/lifecycle.ts";
import { opened, type Service } from "../../src/platform/service.ts";
import { runMain } from "../../src/platform/startup.ts";
import { settleWithin } from "../../src/platform/time-limit.ts";
import { readRunning } from "../launcher/state.ts";
import { parseOrdersCommand, USAGE, type Command } from "./orders/command.ts";

/** How long to wait for Redis. What it misses is in MySQL, where workers find it. Milliseconds. */
const CONNECT_MS = 2_000;

/** For an installation without queues, whose API finds what is in MySQL. */
const NO_QUEUES: Dispatcher = {
  enqueue: async () => undefined,
  revive: async () => 0,
  replace: async () => undefined,
};

/** `npm run orders -- cancel ORDER --reason TEXT`: does what operators do in the console, with the same trail. */
runMain(async () => {
  // The names of stages are those of the configuration file.
  await configure(z.object({}), process.env);
  const command = parseOrdersCommand(process.argv.slice(2), userInfo().username);
  process.stdout.write(command === "help" ? USAGE : `${await carryOut(command)}\n`);
});

/** @returns the result in words. */
async function carryOut(command: Command): Promise<string> {
  const running = readRunning();
  const { REDIS_URL, ...config } = await configure(COMMANDS, {
    ...(running && { DATABASE_URL: running.databaseUrl, REDIS_URL: running.redisUrl }),
    ...process.env,
    LOG_LEVEL: "silent",
  });
  const base = await openBase("api", config);
  const { database, log } = base;
  const services: Service[] = [...base.services];
  try {
    await checkDatabase(database, config);
    const queued = REDIS_URL === undefined ? undefined : await connect({ ...config, REDIS_URL });
    const { queues: dispatcher = NO_QUEUES, onEvents } = queued ?? {};
    const calls = new BackgroundCalls({ log });
    services.push(opened("calls to the dispatcher", () => calls.stop()));
    const cancellation = new Cancellation({
      store: orderStore(database),
      dispatcher,
      lifecycle,
      calls,
      onEvents,
    });
    const queues = queued && { queues: queued };
    const actions = openOperations({ database, dispatcher, cancellation, calls, log, onEvents, ...queues });
    return await command({ ...actions, webhooks: new WebhookEndpoints(database, new Networks()) });
  } finally {
    for (const service of services.toReversed()) await service.stop();
  }

  async function connect(withRedis: Parameters<typeof redisServer>[0]) {
    const server = redisServer(withRedis, base);
    await server.checkAtStart();
    const opening = openQueues(withRedis, base, { server, redis: server.connectProducer() });
    services.push(...opening.services);
    const ready = once(opening.redis, "ready").catch(() => undefined);
    await settleWithin(CONNECT_MS, ready, () => undefined);
    return opening;
  }
}
