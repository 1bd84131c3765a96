import { readFile } from "node:fs/promises";
import path from "node:path";
import { afterAll, beforeAll, expect, jest, test } from "@jest/globals";
import { sql } from "drizzle-orm";
import { inPlace } from "../../docs/sections.ts";
import { listEvents } from "../../db/order-events.ts";
import { lifecycle } from "../../src/order/lifecycle.ts";
import { PLAIN_ORDER } from "../support/client.ts";
import { startLine, type TestLine } from "../support/line.ts";
import { copySources, type Sources } from "../support/sources.ts";

jest.setTimeout(120_000);

const REPOSITORY = path.resolve(import.meta.dirname, "../..");
let sources: Sources;
let line: TestLine;
beforeAll(async () => {
  sources = await copySources();
  line = await startLine({ workers: 0 });
});
afterAll(async () => {
  await line.close();
  await sources.remove();
});

/** The one new file, as the documentation shows it, and the one line (with its import) in the table. */
async function addStage(): Promise<void> {
  const example = await readFile(path.join(REPOSITORY, "docs/examples/fraud-check.ts"), "utf8");
  const table = path.join(sources.folder, "src/order/pipeline.ts");
  const lines = async () => (await readFile(table, "utf8")).split("\n").length;
  const before = await lines();
  // Under other names, since the reader may have added it.
  const code = inPlace(example)
    .replace("fraudCheck", "trialCheck")
    .replace("fraud-check", "trial-check")
    .replace("FRAUD_CHECKED", "TRIAL_CHECKED");
  await sources.addStage({ file: "trial-check.ts", name: "trialCheck", code });
  expect((await lines()) - before).toBe(2);
}

async function migrations(): Promise<number> {
  return line.environment.database.query((queries) => queries.$count(sql`__drizzle_migrations`));
}

test("a stage that is put in takes the orders in flight, by one new file and one line, without a migration", async () => {
  await line.client.put("/stock/MUG-BLUE", { onHand: 1_000 });
  const before = await migrations();
  const statusOf = async (id: string) => (await line.client.get(`/orders/${id}`)).body.status;

  // In flight from before: some wait for their first stage, some for the one that will have another before it.
  const reserved = await Promise.all(Array.from({ length: 10 }, () => line.client.order(PLAIN_ORDER)));
  const old = await line.addWorker({ args: ["--stages", "reserve"] });
  for (const { id } of reserved) await line.client.orderIn(id, "RESERVED");
  await old.stop();
  const created = await Promise.all(Array.from({ length: 10 }, () => line.client.order(PLAIN_ORDER)));
  expect(await statusOf(created[0]?.id ?? "")).toBe("CREATED");

  await addStage();
  await line.addWorker({ folder: sources.folder });
  // Taken by the API of before the deploy, after it.
  const late = await line.client.order(PLAIN_ORDER);

  for (const { id } of [...reserved, ...created, late]) {
    await line.client.orderIn(id, "DELIVERED");
    const events = await listEvents(line.environment.database, id);
    expect(events.flatMap(({ type, to }) => (type === "status" ? [to] : []))).toEqual(
      lifecycle.statuses
        .slice(0, -1)
        .flatMap((status) => (status === "RESERVED" ? [status, "TRIAL_CHECKED"] : [status])),
    );
  }
  expect(await migrations()).toBe(before);
});
