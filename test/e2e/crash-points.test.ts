import { afterAll, beforeAll, describe, expect, jest, test } from "@jest/globals";
import { lifecycle } from "../../src/order/lifecycle.ts";
import { queuePrefix } from "../../queues/keys.ts";
import type { CrashPoint } from "../../src/engine/crash-points.ts";
import { PLAIN_ORDER } from "../support/client.ts";
import { startLine, type TestLine } from "../support/line.ts";
import { statusesOf } from "../support/orders.ts";
import { start } from "../support/processes.ts";

jest.setTimeout(300_000);

interface Crash {
  readonly step: string;
  readonly point: CrashPoint;
  /** How orders get from stage to stage; in the queue by default. */
  readonly handOver?: "in-place";
}

const AT_WORK: readonly CrashPoint[] = ["before run", "after run", "during batch", "after commit"];
const WORKING: readonly Crash[] = lifecycle.stages.flatMap(({ name }): Crash[] =>
  AT_WORK.flatMap((point) => [
    { step: name, point },
    { step: name, point, handOver: "in-place" },
  ]),
);
/** Nothing is queued where an order goes on in place, or after the last stage. */
const QUEUED: readonly Crash[] = lifecycle.stages
  .slice(0, -1)
  .map(({ name }) => ({ step: name, point: "after enqueue" }));
const CRASHES = [...WORKING, ...QUEUED];
const UNDOING: readonly Crash[] = [
  ...lifecycle.toUndo("PAID").flatMap(({ name }): Crash[] => [
    { step: name, point: "before undo" },
    { step: name, point: "after undo" },
  ]),
  { step: "cancel", point: "during batch" },
  { step: "cancel", point: "after commit" },
];

const PAID = lifecycle.statuses.indexOf("PAID");

/** The order whose worker was killed there. */
const hit = new Map<Crash, string>();
let line: TestLine;

/** A worker that kills itself at the point; over when it has. */
async function crash(given: Crash, args: readonly string[] = []): Promise<void> {
  const worker = start("workers/main.ts", {
    ...line.environment,
    env: { STAGE_BACKOFF_MS: "20", HAND_OVER: given.handOver ?? "queue" },
    args: [...args, "--crash-at", `${given.step}: ${given.point}`],
  });
  const status = await worker.process.exited;
  if (status.signal !== "SIGKILL") throw new Error(`it ended in another way:\n${worker.lines.join("\n")}`);
}

const place = async () => (await line.client.order(PLAIN_ORDER)).id;

/** All the crashes come first, and the orders heal together: locks take their time to run out. */
beforeAll(async () => {
  line = await startLine({ workers: 0 });
  const { redis } = line.environment;
  // With this key nobody looks for stalled jobs. Else a worker that is about to be killed would take the orders of those
  // before it along, on a slow machine again and again.
  const checks = lifecycle.steps.map((step) => `${queuePrefix(redis, step)}:${step.name}:stalled-check`);
  for (const key of checks) await redis.set(key, "held");
  await line.client.put("/stock/MUG-BLUE", { onHand: 1_000 });

  const toUndo = await Promise.all(UNDOING.map(async (given) => ({ given, id: await place() })));
  const stages = lifecycle.stages.slice(0, PAID).map(({ name }) => name);
  const until = await line.addWorker({ args: ["--stages", stages.join()] });
  for (const { id } of toUndo) await line.client.orderIn(id, "PAID");
  await until.stop();
  for (const { given, id } of toUndo) {
    hit.set(given, id);
    await line.client.post(`/orders/${id}/cancel`, { reason: "changed my mind" });
    await crash(given, ["--stages", "cancel"]);
  }
  for (const given of CRASHES) {
    hit.set(given, await place());
    await crash(given);
  }
  await redis.del(...checks);
  await line.addWorker();
}, 400_000);
afterAll(() => line.close());

const books = async (id: string) =>
  line.environment.providers
    .entriesOf(id)
    .map(({ kind, outcome }) => `${kind} ${outcome}`)
    .toSorted();
const path = (id: string) => statusesOf(line.environment.database, id);
const orderOf = (given: Crash) => {
  const id = hit.get(given);
  if (id === undefined) throw new Error(`nothing was killed at ${given.step}: ${given.point}`);
  return id;
};

describe("a worker killed", () => {
  test.each(
    CRASHES.map((given) => [given.point, given.step, given.handOver ?? "in the queue", given] as const),
  )(
    "%s of %s, with orders handed over %s, leaves an order that is delivered, charged and labelled once",
    async (_point, _step, _handOver, given) => {
      const id = orderOf(given);
      expect(await line.client.orderIn(id, "DELIVERED")).not.toHaveProperty("failed");
      expect(await books(id)).toEqual(["charge approved", "label approved"]);
      expect(await path(id)).toEqual(lifecycle.statuses.slice(0, -1));
    },
  );

  test.each(UNDOING.map((given) => [given.point, given.step, given] as const))(
    "%s of %s leaves an order that is cancelled and refunded once",
    async (_point, _step, given) => {
      const id = orderOf(given);
      expect(await line.client.orderIn(id, "CANCELLED")).not.toHaveProperty("failed");
      expect(await books(id)).toEqual(["charge approved", "label void", "refund approved"]);
      expect(await path(id)).toEqual([...lifecycle.statuses.slice(0, PAID + 1), "CANCELLED"]);
    },
  );

  test("leaves the stock right", async () => {
    const delivered = CRASHES.length;
    expect((await line.client.get("/stock/MUG-BLUE")).body).toMatchObject({
      onHand: 1_000 - 2 * delivered,
      reserved: 0,
    });
  });
});
