import { afterAll, beforeAll, expect, jest, test } from "@jest/globals";
import type { OrderBody } from "../../src/api/schemas.ts";
import { PLAIN_ORDER } from "../support/client.ts";
import { startLine, type TestLine } from "../support/line.ts";
import { copySources, type Sources } from "../support/sources.ts";
import { waitFor } from "../support/wait-for.ts";

jest.setTimeout(300_000);

/** A stage that takes its process with it, in the way that the customer's name says. */
const CRASHING_STAGE = `
import { defineStage } from "../stage.ts";

export const inspect = defineStage({
  name: "inspect",
  to: "INSPECTED",
  settings: { timeout: 3_000 },
  async run({ customerId }) {
    if (customerId === "exit") process.exit(1);
    if (customerId === "memory") {
      const hoard = [];
      for (;;) hoard.push(new Array(100_000).fill(hoard.length));
    }
    if (customerId === "late") setImmediate(() => { throw new Error("nobody catches this"); });
    if (customerId === "late") await new Promise(() => {});
    return {};
  },
});
`;

let sources: Sources;
let line: TestLine;
beforeAll(async () => {
  sources = await copySources();
  await sources.addStage({ file: "inspect.ts", name: "inspect", code: CRASHING_STAGE, after: "pay" });
  line = await startLine({ workers: 0, env: { NODE_OPTIONS: "--max-old-space-size=128" } });
  await line.client.put("/stock/MUG-BLUE", { onHand: 10_000 });
});
afterAll(async () => {
  await line.close();
  await sources.remove();
});

/** As a supervisor does: another one whenever one dies. */
async function keepWorking(until: () => Promise<boolean>): Promise<number> {
  let deaths = 0;
  let worker = await line.addWorker({ folder: sources.folder });
  await waitFor(
    "the work to be done",
    async () => {
      if (!worker.process.running) {
        deaths++;
        worker = await line.addWorker({ folder: sources.folder });
      }
      return until();
    },
    { timeoutMs: 200_000 },
  );
  await worker.stop();
  return deaths;
}

const read = async ({ id }: OrderBody) => (await line.client.get(`/orders/${id}`)).body;

const THREE_TIMES = "crashed the process of its worker three times: ";
const POISONED = { exit: "exit code 1", memory: "SIGABRT", late: "exit code 1" };

test("orders whose stage takes the process with it rest failed, and take no other order with them", async () => {
  const poisoned = await Promise.all(
    Object.keys(POISONED).map((customerId) => line.client.order({ ...PLAIN_ORDER, customerId })),
  );
  const innocent = await Promise.all(Array.from({ length: 40 }, () => line.client.order(PLAIN_ORDER)));
  const deaths = await keepWorking(async () => {
    const [failed, others] = [await Promise.all(poisoned.map(read)), await Promise.all(innocent.map(read))];
    return (
      failed.every((order) => order.failed !== undefined) &&
      others.every((order) => order.status === "DELIVERED")
    );
  });
  // Each has killed one worker at most, whatever it did to the processes that it was tried in after that.
  expect(deaths).toBeGreaterThanOrEqual(1);
  expect(deaths).toBeLessThanOrEqual(poisoned.length);
  for (const order of await Promise.all(poisoned.map(read))) {
    const how = new Map(Object.entries(POISONED)).get(order.customerId);
    expect(order.failed).toMatchObject({ stage: "inspect", reason: `${THREE_TIMES}${how}` });
  }
});
