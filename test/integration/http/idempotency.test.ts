import { afterAll, beforeAll, describe, expect, jest, test } from "@jest/globals";
import { sql } from "drizzle-orm";
import { PLAIN_ORDER, TestClient } from "../../support/client.ts";
import { startLine, type TestLine } from "../../support/line.ts";
import { startApi, type TestProcess } from "../../support/processes.ts";
import { waitFor } from "../../support/wait-for.ts";

jest.setTimeout(120_000);

const OTHER_KEY = "another-test-key-42";

let line: TestLine;
let second: TestProcess & { readonly url: string };
beforeAll(async () => {
  line = await startLine({
    workers: 0,
    ownRedis: true,
    env: { API_KEYS: `test-key-0123456789,${OTHER_KEY}` },
  });
  second = await startApi(line.environment);
  await line.client.put("/stock/MUG-BLUE", { onHand: 1_000 });
});
afterAll(async () => {
  await second.stop();
  await line.close();
});

let count = 0;
const newKey = () => `key-${++count}`;
const place = (key: string, body: unknown = PLAIN_ORDER, client = line.client) =>
  client.post("/orders", body, { "idempotency-key": key });
const written = () => line.environment.database.query((queries) => queries.$count(sql`orders`));

describe("a request that is repeated under its idempotency key", () => {
  test("gets the first answer again, and makes no second order", async () => {
    const key = newKey();
    const first = await place(key, { ...PLAIN_ORDER, reference: "INV-1" });
    const before = await written();
    const again = await place(key, { ...PLAIN_ORDER, reference: "INV-1" });
    expect(first.headers.get("idempotent-replayed")).toBeNull();
    expect(again.headers.get("idempotent-replayed")).toBe("true");
    expect(again).toMatchObject({ status: 202, body: first.body });
    expect(again.headers.get("location")).toBe(first.headers.get("location"));
    expect(await written()).toBe(before);
  });

  test("gets the first answer also when the order has moved on", async () => {
    const key = newKey();
    const first = await place(key);
    const worker = await line.addWorker();
    await line.client.orderIn(first.body.id, "DELIVERED");
    expect((await place(key)).body).toEqual(first.body);
    await worker.stop();
  });

  test("is the same when its fields come in another order", async () => {
    const key = newKey();
    const { customerId, currency, lines } = PLAIN_ORDER;
    const first = await place(key, { customerId, currency, lines });
    const again = await place(key, { lines, currency, customerId });
    expect(again).toMatchObject({ status: 202, body: { id: first.body.id } });
  });

  test("with another body is refused, and changes nothing", async () => {
    const key = newKey();
    const first = await place(key);
    const before = await written();
    const other = await place(key, { ...PLAIN_ORDER, customerId: "cust-2" });
    expect(other).toMatchObject({
      status: 422,
      body: {
        type: "urn:conveyor:problem:idempotency-key-reused",
        detail: expect.stringContaining(first.body.id),
      },
    });
    expect(await written()).toBe(before);
  });

  test("makes one order when fifty come at once, to two processes, and gives fifty equal answers", async () => {
    const key = newKey();
    const before = await written();
    const clients = [line.client, new TestClient(second.url)];
    const answers = await Promise.all(
      Array.from({ length: 50 }, (_, index) => place(key, PLAIN_ORDER, clients[index % 2])),
    );
    expect(new Set(answers.map((answer) => JSON.stringify([answer.status, answer.body]))).size).toBe(1);
    expect(answers[0]?.status).toBe(202);
    expect(answers.filter((answer) => answer.headers.get("idempotent-replayed") === null)).toHaveLength(1);
    expect(await written()).toBe(before + 1);
  });

  test("makes one order of those of the same body, when fifty of two bodies come at once", async () => {
    const key = newKey();
    const before = await written();
    const answers = await Promise.all(
      Array.from({ length: 50 }, (_, index) =>
        place(key, { ...PLAIN_ORDER, customerId: `cust-${index % 2}` }),
      ),
    );
    expect(await written()).toBe(before + 1);
    expect(answers.filter((answer) => answer.status === 202)).toHaveLength(25);
    expect(answers.filter((answer) => answer.status === 422)).toHaveLength(25);
  });

  test("gets its answer after a crash that came right after the commit, and the order is carried on", async () => {
    const key = newKey();
    const crashing = await startApi(line.environment);
    const { redis } = line.environment;
    // Redis takes no writes, so the order is written down and not queued when the process dies.
    await redis.config("SET", "min-replicas-to-write", "1");
    const first = await place(key, PLAIN_ORDER, new TestClient(crashing.url));
    crashing.process.kill("SIGKILL");
    await crashing.process.exited;
    await redis.config("SET", "min-replicas-to-write", "0");
    const again = await place(key);
    expect(again).toMatchObject({ status: 202, body: first.body });
    expect(again.headers.get("idempotent-replayed")).toBe("true");
    const worker = await line.addWorker();
    await line.client.orderIn(first.body.id, "DELIVERED");
    await worker.stop();
  });
});

describe("an idempotency key", () => {
  test("belongs to the client that uses it", async () => {
    const key = newKey();
    const other = new TestClient(line.api.url, { authorization: `Bearer ${OTHER_KEY}` });
    const [first, second_] = [await place(key), await place(key, PLAIN_ORDER, other)];
    expect(second_).toMatchObject({ status: 202 });
    expect(second_.body.id).not.toBe(first.body.id);
    expect(second_.headers.get("idempotent-replayed")).toBeNull();
  });

  test("is told apart by case", async () => {
    const first = await place("Case-Matters");
    expect((await place("case-matters")).body.id).not.toBe(first.body.id);
  });

  test("of a request that was refused can be used again", async () => {
    const key = newKey();
    expect((await place(key, { ...PLAIN_ORDER, lines: [] })).status).toBe(422);
    expect((await place(key)).status).toBe(202);
  });

  test("may be as long as 255 characters, and without one each request is an order", async () => {
    expect((await place("k".repeat(255))).status).toBe(202);
    const [first, again] = [await line.client.order(PLAIN_ORDER), await line.client.order(PLAIN_ORDER)];
    expect(again.id).not.toBe(first.id);
  });

  test.each([
    ["empty", ""],
    ["too long", "k".repeat(256)],
    ["not printable", "k\u00ff"],
  ])("that is %s is refused, and nothing is written", async (_, key) => {
    const before = await written();
    expect(await place(key)).toMatchObject({ status: 400, body: { errors: [{ path: "Idempotency-Key" }] } });
    expect(await written()).toBe(before);
  });
});

test("orders with and without keys are written together", async () => {
  const before = await written();
  await Promise.all(
    Array.from({ length: 30 }, (_, index) =>
      index % 3 ? place(newKey()) : line.client.post("/orders", PLAIN_ORDER),
    ),
  );
  await waitFor("all to be there", async () => (await written()) === before + 30);
});
