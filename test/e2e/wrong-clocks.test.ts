import { afterEach, beforeEach, expect, jest, test } from "@jest/globals";
import { sql } from "drizzle-orm";
import type { OrderEventBody } from "../../src/api/schemas.ts";
import { BASIC } from "../support/api.ts";
import { PLAIN_ORDER, TestClient } from "../support/client.ts";
import { startLine, type TestLine } from "../support/line.ts";
import { startApi } from "../support/processes.ts";
import { shiftedClock, type ShiftedClock } from "../support/shifted-clock.ts";
import { waitFor } from "../support/wait-for.ts";

jest.setTimeout(180_000);

const HOUR_MS = 3_600_000;
const ORDERS = 20;
const ENV = { SWEEP_INTERVAL_MS: "100", SWEEP_AFTER_MS: "500", PROBE_INTERVAL_MS: "200" };

let line: TestLine;
let clock: ShiftedClock;
beforeEach(async () => {
  clock = shiftedClock();
  line = await startLine({ workers: 0, env: ENV, transitMs: 2_000 });
  await line.client.put("/stock/MUG-BLUE", { onHand: 1_000 });
});
afterEach(async () => {
  await line.close();
  clock.remove();
});

const place = () => Promise.all(Array.from({ length: ORDERS }, () => line.client.order(PLAIN_ORDER)));
const read = async (id: string) => (await line.client.get(`/orders/${id}`)).body;

test("a worker whose clock is 25 hours ahead cancels no young order, and leaves no retry that is due in 25 hours", async () => {
  line.environment.providers.setFault("payments", { kind: "errors", rate: 1 });
  clock.shift(25 * HOUR_MS);
  const ahead = await line.addWorker({ env: clock.env });
  const orders = await place();
  await waitFor("a failed attempt at each", async () => {
    const answers = await Promise.all(
      orders.map(({ id }) => line.client.get<{ items: OrderEventBody[] }>(`/orders/${id}/events`)),
    );
    return answers.every(({ body }) => body.items.some(({ type }) => type === "attempt-failed"));
  });
  // One that really is so old, behind them: once that is cancelled, the worker has looked at the others.
  const old = await line.client.order(PLAIN_ORDER);
  await line.client.orderIn(old.id, "RESERVED");
  await line.environment.database.query((queries) =>
    queries.execute(sql`UPDATE orders SET created_at = created_at - INTERVAL 25 HOUR WHERE id = ${old.id}`),
  );
  await waitFor("the worker to cancel it", async () => (await read(old.id)).cancellation !== undefined);
  for (const { id } of orders) expect((await read(id)).cancellation).toBeUndefined();
  await ahead.stop();
  line.environment.providers.setFault("payments", { kind: "none" });
  await line.addWorker();
  for (const { id } of orders) {
    const { cancellation, updatedAt } = await line.client.orderIn(id, "DELIVERED");
    expect(cancellation).toBeUndefined();
    expect(Date.parse(updatedAt) - Date.now()).toBeLessThan(60_000);
  }
});

test("a worker whose clock jumps back an hour leaves no order standing still, and says so", async () => {
  const worker = await line.addWorker({ env: clock.env });
  const orders = await place();
  for (const { id } of orders)
    await waitFor("the parcel to be on its way", async () =>
      ["SHIPPED", "DELIVERED"].includes((await read(id)).status),
    );
  clock.shift(-HOUR_MS);
  for (const { id } of orders) await line.client.orderIn(id, "DELIVERED");
  // Also one that comes later.
  const [later] = await place();
  await line.client.orderIn(later?.id ?? "", "DELIVERED");

  const told = await waitFor("the worker to say so", () =>
    worker.logs().find(({ msg }) => String(msg).startsWith("this machine's clock is")),
  );
  expect(told).toMatchObject({ msg: "this machine's clock is 60 minutes behind MySQL's: MySQL's counts" });
  const page = new TestClient(line.api.url, BASIC);
  await waitFor("the console to say so", async () =>
    /The clock of worker \S+ is 60 minutes behind MySQL.{1,6}s/.test(
      (await page.get<string>("/console")).body,
    ),
  );
  clock.shift(0);
  await waitFor("the worker to say that it is right again", () =>
    worker.logs().find(({ msg }) => msg === "this machine's clock is right again"),
  );
});

test("an order that an API accepts whose clock is 25 hours behind is not too old to be paid", async () => {
  await line.addWorker();
  clock.shift(-25 * HOUR_MS);
  line.environment.providers.setFault("payments", { kind: "down" });
  const behind = await startApi({
    databaseUrl: line.environment.databaseUrl,
    redisUrl: line.environment.redisUrl,
    env: { ...ENV, ...clock.env },
  });
  try {
    const { id, createdAt } = await new TestClient(behind.url).order(PLAIN_ORDER);
    expect(Math.abs(Date.parse(createdAt) - Date.now())).toBeLessThan(60_000);
    await line.client.orderIn(id, "RESERVED");
    // A sweep has come by since.
    const other = await line.client.order(PLAIN_ORDER);
    await line.client.orderIn(other.id, "RESERVED");
    line.environment.providers.setFault("payments", { kind: "none" });
    await line.client.orderIn(id, "DELIVERED");
  } finally {
    await behind.stop();
  }
});
