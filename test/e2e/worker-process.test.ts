import { afterAll, beforeAll, describe, expect, jest, test } from "@jest/globals";
import { sql } from "drizzle-orm";
import { lifecycle } from "../../src/order/lifecycle.ts";
import { PLAIN_ORDER } from "../support/client.ts";
import { createTestEnvironment } from "../support/environment.ts";
import { readHeartbeats } from "../../queues/telemetry/heartbeats.ts";
import { startLine, type TestLine } from "../support/line.ts";
import { createOrder } from "../support/orders.ts";
import { start, startWorker, untilLogged, type TestProcess } from "../support/processes.ts";
import { waitFor } from "../support/wait-for.ts";

jest.setTimeout(120_000);

/** Long enough for orders to be in every stage. */
const LATENCY_MS = 40;

let line: TestLine;
beforeAll(async () => {
  line = await startLine({ workers: 0, latencyMs: LATENCY_MS, env: { STAGE_ATTEMPTS: "1" } });
  await line.client.put("/stock/MUG-BLUE", { onHand: 100_000 });
});
afterAll(() => line.close());

const place = (count: number) =>
  Promise.all(Array.from({ length: count }, () => line.client.order(PLAIN_ORDER)));
const count = (status: string) =>
  line.environment.database.query((queries) => queries.$count(sql`orders`, sql`status = ${status}`));

/** Waits until some worker has an order in the stage. */
const atWork = (stage: string) =>
  waitFor(`an order to be in ${stage}`, async () =>
    (await readHeartbeats(line.environment.redis)).some(({ steps }) =>
      steps.some(({ name, held }) => name === stage && held > 0),
    ),
  );

describe("a worker process", () => {
  test("takes only the stages that it is told to", async () => {
    const names = lifecycle.stages.map(({ name }) => name);
    const [before, after] = [names.slice(0, names.indexOf("ship")), names.slice(names.indexOf("ship"))];
    const paid = lifecycle.statusBefore({ name: "ship" });
    const worker = await line.addWorker({ args: ["--stages", before.join()] });
    const [order] = await place(1);
    await line.client.orderIn(order?.id ?? "", paid);
    await waitFor("the outcome to be logged", () => worker.logs().some((entry) => entry["status"] === paid));
    const stages = new Set(worker.logs().map((entry) => entry["stage"]));
    expect(stages).toEqual(new Set([...before, undefined]));
    expect(await worker.stop()).toBe(0);
    const rest = await line.addWorker({ args: [`--stages=${after.join()}`, "--concurrency", "2"] });
    await line.client.orderIn(order?.id ?? "", "DELIVERED");
    expect(await rest.stop()).toBe(0);
  });

  test("that is told to stop under load exits with 0, and no order loses its only attempt by that", async () => {
    const orders = await place(150);
    for (let restarts = 0; restarts < 3; restarts++) {
      const worker = await line.addWorker();
      const delivered = await count("DELIVERED");
      await waitFor("some progress, or the end", async () => {
        const now = await count("DELIVERED");
        return now > delivered || now >= orders.length;
      });
      expect(await worker.stop()).toBe(0);
    }
    const last = await line.addWorker();
    for (const { id } of orders) await line.client.orderIn(id, "DELIVERED");
    expect(await line.client.orders({ failed: "true" })).toEqual([]);
    expect(await last.stop()).toBe(0);
  });

  test("that has work in hand ends at once on a second signal, and loses nothing", async () => {
    // The provider takes longer to answer than this test may.
    line.environment.providers.setLatency(60_000);
    const worker = await startWorker(line.environment);
    const [order] = await place(1);
    await atWork("pay");
    worker.process.kill("SIGTERM");
    await untilLogged(worker, "shutting down");
    // One that comes right after the first is the same: terminals and supervisors both send it.
    await waitFor("it to end", () => {
      worker.process.kill("SIGTERM");
      return !worker.process.running;
    });
    expect((await worker.process.exited).code).toBe(1);
    line.environment.providers.setLatency(LATENCY_MS);
    expect((await line.client.get(`/orders/${order?.id}`)).body).toMatchObject({ status: "RESERVED" });
  });

  test("that was told to stop and has work in hand is alive, and says that it takes no more", async () => {
    line.environment.providers.setLatency(60_000);
    const worker = await startWorker({ ...line.environment, env: { METRICS_PORT: "0" } });
    const address = String(worker.logs().find(({ msg }) => msg === "worker ready")?.["metrics"]);
    const health = async (path: string) =>
      (await fetch(address.replace("/metrics", `/health/${path}`))).status;
    const [order] = await place(1);
    await atWork("pay");
    expect(await health("accepting")).toBe(200);
    worker.process.kill("SIGTERM");
    await waitFor("it to say so", async () => (await health("accepting")) === 503);
    expect(await health("live")).toBe(200);
    await untilLogged(worker, "shutting down");
    await waitFor("it to end", () => {
      worker.process.kill("SIGTERM");
      return !worker.process.running;
    });
    line.environment.providers.setLatency(LATENCY_MS);
    const next = await line.addWorker();
    await line.client.orderIn(order?.id ?? "", "DELIVERED");
    expect(await next.stop()).toBe(0);
  });

  test("hands back what does not end before the deadline", async () => {
    line.environment.providers.setLatency(60_000);
    const env = { STAGE_TIMEOUT_MS: "60000", SHUTDOWN_TIMEOUT_MS: "300" };
    const worker = await startWorker({ ...line.environment, env });
    const [order] = await place(1);
    await atWork("pay");
    expect(await worker.stop()).toBe(0);
    line.environment.providers.setLatency(LATENCY_MS);
    const next = await line.addWorker();
    await line.client.orderIn(order?.id ?? "", "DELIVERED");
    expect(await next.stop()).toBe(0);
  });
});

describe("a worker process does not start", () => {
  /** What it says, in how many lines, when it is started like this. */
  async function refusal(child: TestProcess): Promise<string> {
    expect((await child.process.exited).code).toBe(1);
    return child.lines.join("\n");
  }

  test.each([
    [
      ["--stages", "pay,fly"],
      new RegExp(
        `^--stages: no stage is named "fly"; there are ${lifecycle.steps.map(({ name }) => name).join(", ")}$`,
      ),
    ],
    [["--concurrency", "lots"], /^--concurrency must be a whole number from 1 to 10000, not "lots"$/],
    [["--colour", "red"], /^Unknown option '--colour'/],
  ])("with the arguments %p", async (args, said) => {
    expect(await refusal(start("workers/main.ts", { ...line.environment, args }))).toMatch(said);
  });

  test("with a configuration that is not right, and tells every fault", async () => {
    const env = { DATABASE_URL: "postgres://x", REDIS_URL: "", STAGE_TIMEOUT_MS: "soon" };
    const said = await refusal(start("workers/main.ts", { ...line.environment, env }));
    expect(said.split("\n")).toEqual([
      "the configuration is invalid:",
      "  DATABASE_URL must be an address that begins with mysql://",
      "  REDIS_URL must start with redis://, redis+sentinel://, redis+cluster:// (rediss for TLS) or unix://",
      "  STAGE_TIMEOUT_MS must be a whole number from 10 to 600000",
    ]);
  });

  test("on a database that was not migrated", async () => {
    const environment = await createTestEnvironment({ migrated: false });
    try {
      expect(await refusal(start("workers/main.ts", environment))).toMatch(
        /^the database lacks \d+ migrations: run "npm run migrate" first$/,
      );
    } finally {
      await environment.close();
    }
  });

  test("while there are orders with a status that no stage knows", async () => {
    const environment = await createTestEnvironment();
    try {
      const id = await createOrder(environment.database);
      await environment.database.query((queries) =>
        queries.execute(sql`UPDATE orders SET status = 'GIFT_WRAPPED' WHERE id = ${id}`),
      );
      expect(await refusal(start("workers/main.ts", environment))).toMatch(
        /GIFT_WRAPPED; put the stage back/,
      );
      expect(await refusal(start("src/main.ts", { ...environment, env: { PORT: "0" } }))).toMatch(
        /GIFT_WRAPPED/,
      );
      await environment.database.query((queries) =>
        queries.execute(sql`UPDATE orders SET status = 'DELIVERED'`),
      );
      // The Redis that both share is that of the line's database.
      const worker = await startWorker({ ...environment, env: { REDIS_PREFIX: "other" } });
      expect(await worker.stop()).toBe(0);
    } finally {
      await environment.close();
    }
  });
});
