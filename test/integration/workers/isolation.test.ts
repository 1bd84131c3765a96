import { fork, type ChildProcess } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, expect, jest, test } from "@jest/globals";
import { Database } from "../../../db/database.ts";
import { setStock } from "../../../db/stock.ts";
import { Lifecycle, lifecycle } from "../../../src/order/lifecycle.ts";
import { defineStage } from "../../../src/order/stage.ts";
import { reserve } from "../../../src/order/stages/reserve.ts";
import { createLogger } from "../../../src/platform/log.ts";
import { Isolation } from "../../../workers/isolation/isolation.ts";
import { createTestEnvironment } from "../../support/environment.ts";
import { createOrder, readOrder } from "../../support/orders.ts";
import { startOwnMysql } from "../../support/own-mysql.ts";
import { startTestRedis } from "../../support/servers.ts";

jest.setTimeout(120_000);

const MAIN = path.resolve(import.meta.dirname, "../../../workers/isolation/main.ts");
/** Longer than two processes, one after the other, that would be taken for blocked. */
const STANDS_STILL_MS = 6_000;

let closing: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).toReversed()) await close();
});

function isolated(start: () => ChildProcess, own = lifecycle): Isolation {
  const isolation = new Isolation({
    fork: start,
    lifecycle: own,
    log: createLogger({ name: "test", level: "silent" }),
  });
  closing.push(() => isolation.stop());
  return isolation;
}

const attempt = (orderId: string) => ({
  orderId,
  step: reserve.name,
  timeoutMs: 200,
  attempt: 1,
  startedAt: Date.now(),
});

test.each(["MySQL", "Redis"])(
  "an attempt that waits for a %s that stands still crashes nothing, and is made when it wakes up",
  async (which) => {
    const [mysql, redis] = await Promise.all([startOwnMysql(), startTestRedis()]);
    closing.push(
      () => mysql.stop(),
      () => redis.stop(),
    );
    const database = new Database({ url: mysql.databaseUrl });
    closing.push(() => database.close());
    await setStock(database, [{ sku: "MUG-BLUE", onHand: 100 }]);
    const env = { PATH: process.env["PATH"], DATABASE_URL: mysql.databaseUrl, REDIS_URL: redis.url };
    const isolation = isolated(() => fork(MAIN, { execArgv: ["--import", "tsx"], env }));
    const [first, second] = [await createOrder(database), await createOrder(database)];
    const done = { outcome: "done", status: "RESERVED", next: lifecycle.due("RESERVED") };
    expect(await isolation.attempt({ ...attempt(first), timeoutMs: 20_000 }, undefined)).toEqual(done);

    const server = which === "MySQL" ? mysql.server : redis;
    server.kill("SIGSTOP");
    const made = isolation.attempt(attempt(second), undefined);
    await Promise.race([made, sleep(STANDS_STILL_MS)]);
    server.kill("SIGCONT");
    expect(await made).toEqual(done);
  },
);

/** As a module beside a configuration file. */
const APPROVE = `import { defineStage, wait } from "conveyor";
export default defineStage({ name: "approve", to: "APPROVED", async run(order, { waited }) {
  return waited ? { askedAgain: true } : wait({ for: "approval", until: new Date("2999-01-01T00:00:00Z") });
} });
`;

test("an attempt that waits leaves an order that waits, and is made again once somebody has acted", async () => {
  const environment = await createTestEnvironment();
  closing.push(() => environment.close());
  const { database, databaseUrl, redisUrl } = environment;
  const folder = await mkdtemp(path.join(os.tmpdir(), "isolation-"));
  closing.push(() => rm(folder, { recursive: true }));
  await writeFile(path.join(folder, "approve.mts"), APPROVE);
  const config = path.join(folder, "conveyor.config.json");
  await writeFile(config, '{"pipeline": [{"module": "./approve.mts"}, "reserve"]}');
  const env = {
    PATH: process.env["PATH"],
    DATABASE_URL: databaseUrl,
    REDIS_URL: redisUrl,
    CONVEYOR_CONFIG: config,
  };
  const approve = defineStage({ name: "approve", to: "APPROVED", run: async () => ({}) });
  const own = new Lifecycle([approve, reserve]);
  const isolation = isolated(() => fork(MAIN, { execArgv: ["--import", "tsx"], env }), own);
  const id = await createOrder(database);
  const asked = { ...attempt(id), step: "approve", timeoutMs: 20_000 };

  expect(await isolation.attempt(asked, undefined)).toEqual({ outcome: "waiting", for: "approval" });
  expect(await readOrder(database, id)).toMatchObject({
    status: "CREATED",
    waiting: { stage: "approve", for: "approval", until: new Date("2999-01-01T00:00:00Z") },
  });
  expect(await isolation.attempt({ ...asked, attempt: 2 }, undefined)).toEqual({
    outcome: "done",
    status: "APPROVED",
    next: own.due("APPROVED"),
  });
  expect(await readOrder(database, id)).toMatchObject({
    waiting: null,
    records: { approve: { askedAgain: true } },
  });
});

test("an attempt that blocks its process crashes it, and is to blame when it is alone", async () => {
  const folder = await mkdtemp(path.join(os.tmpdir(), "isolation-"));
  closing.push(() => rm(folder, { recursive: true }));
  const script = path.join(folder, "blocks.cjs");
  await writeFile(script, `process.on("message", () => { for (;;); }); process.send({ type: "ready" });`);
  const isolation = isolated(() => fork(script, { execArgv: [] }));
  await expect(isolation.attempt(attempt("order-1"), undefined)).rejects.toMatchObject({
    failure: { kind: "permanent" },
  });
});
