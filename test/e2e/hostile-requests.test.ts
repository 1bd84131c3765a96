import { connect, type Socket } from "node:net";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { eq } from "drizzle-orm";
import { v7 as uuidv7 } from "uuid";
import { orders } from "../../db/schema.ts";
import { BEARER } from "../support/api.ts";
import { PLAIN_ORDER } from "../support/client.ts";
import { Contract, describeApi } from "../support/contract.ts";
import { Campaign } from "../support/hostile/campaign.ts";
import { describedOperations, type Operation } from "../support/hostile/description.ts";
import { operationAttacks } from "../support/hostile/operation-attacks.ts";
import { boardAttacks, formAttacks, pageAttacks } from "../support/hostile/page-attacks.ts";
import { rawAttacks } from "../support/hostile/raw-attacks.ts";
import { HostileClient } from "../support/hostile/send.ts";
import { stateOf } from "../support/hostile/state.ts";
import { startLine, type TestLine } from "../support/line.ts";
import { TEST_KEY } from "../support/processes.ts";
import { waitFor } from "../support/wait-for.ts";

/** HOSTILE_SEED repeats a run, HOSTILE_REQUESTS makes it longer. */
const SEED = Number(process.env["HOSTILE_SEED"] ?? Date.now() % 2 ** 31);
const REQUESTS = Number(process.env["HOSTILE_REQUESTS"] ?? 10_000);
const TIMEOUT_MS = 240_000 * Math.max(1, REQUESTS / 10_000);
const AT_ONCE = 24;
const HALF_OPEN = 50;
/** The part of the requests after which everything has been loaded and compiled, and pools have grown. */
const WARM_UP = 0.4;
const MIB = 2 ** 20;
/** What is held after collecting garbage grows by 1 MiB at most, in compiled code and caches. A kilobyte a request would show. */
const HEAP_GROWTH = 4 * MIB;
/** The process's own size goes up and down by tens of megabytes, as the allocator likes. */
const RSS_GROWTH = 128 * MIB;
/** It takes no body, and so it can't be malformed. */
const WAKE = "/orders/{id}/wake";
const PROBE = path.join(import.meta.dirname, "../support/hostile/memory-probe.cjs");

let line: TestLine;
let operations: Operation[];
let client: HostileClient;
beforeAll(async () => {
  line = await startLine({
    workers: 0,
    env: {
      NODE_OPTIONS: `--require=${JSON.stringify(PROBE)}`,
      // A busy machine is no fault here.
      DATABASE_TIMEOUT_MS: "30000",
    },
  });
  // What could be changed: stock, an order to be cancelled, one to be resumed, and jobs.
  await line.client.put("/stock/MUG-BLUE", { onHand: 10 });
  const { id } = await line.client.order(PLAIN_ORDER);
  const failed = await line.client.order(PLAIN_ORDER);
  await line.environment.database.transaction((queries) =>
    queries
      .update(orders)
      .set({ failedStage: "reserve", failedReason: "the stock is away", failedAt: new Date() })
      .where(eq(orders.id, failed.id)),
  );
  await waitFor("both orders to be queued", async () => (await jobs()) === 2);
  operations = (await describedOperations(line.client, { id, sku: "MUG-BLUE", number: "1" })).map(
    (operation) =>
      operation.template === WAKE
        ? Object.assign(operation, { path: operation.path.replace(id, uuidv7()) })
        : operation,
  );
  client = new HostileClient(line.api.url, AT_ONCE);
});
afterAll(async () => {
  client?.close();
  await line?.close();
});

test(
  "no request, however malformed, hostile or enormous, breaks the service, writes anything or costs memory",
  async () => {
    const contract = new Contract(await describeApi(line.api.url));
    const before = await stateOf(line.environment);
    const attacks = [
      ...operations.flatMap(operationAttacks),
      ...pageAttacks(),
      ...formAttacks(),
      ...boardAttacks(),
      ...rawAttacks(operations),
    ];
    const campaign = new Campaign(client, attacks, {
      seed: SEED,
      atOnce: AT_ONCE,
      contract,
      secret: TEST_KEY,
    });
    const halfOpen = holdHalfOpen();
    try {
      await campaign.send(REQUESTS * WARM_UP);
      const warm = await memory();
      await campaign.send(REQUESTS * (1 - WARM_UP));
      const end = await memory();

      const written = differences(before, await stateOf(line.environment));
      expect({
        faults: campaign.faults.slice(0, 20),
        written,
        writers: written.length > 0 ? campaign.accepted.slice(0, 20) : [],
        logged: line.api.logs().filter(({ level }) => level !== "info"),
        notLogged: line.api.lines.filter((text) => !text.startsWith("{")),
      }).toEqual({ faults: [], written: [], writers: [], logged: [], notLogged: [] });
      expect(campaign.sent).toBeGreaterThanOrEqual(REQUESTS);
      for (const operation of operations) expectReached(operation, campaign.statuses);
      expect(end.heap - warm.heap).toBeLessThan(HEAP_GROWTH);
      expect(end.rss - warm.rss).toBeLessThan(RSS_GROWTH);

      expect((await line.client.get("/health/ready")).body).toMatchObject({ ready: true });
      await line.client.order(PLAIN_ORDER);
      await waitFor("the order to be queued", async () => (await jobs()) === 3);
    } catch (error) {
      const first = campaign.faults[0] ?? "none was at fault alone";
      process.stderr.write(`HOSTILE_SEED=${SEED}, ${campaign.sent} requests, the first at fault: ${first}\n`);
      throw error;
    } finally {
      for (const socket of halfOpen) socket.destroy();
    }
    expect(await line.api.stop()).toBe(0);
  },
  TIMEOUT_MS,
);

/** Jobs that wait in the first stage's queue. */
function jobs(): Promise<number> {
  return line.environment.redis.llen("{reserve}:reserve:wait");
}

/** Holds that the attacks got as far as they were meant to: had all been without a key, nothing would be shown. */
function expectReached({ method, template, body, open }: Operation, statuses: ReadonlySet<string>): void {
  // Some of these write without a body: so there is none of what they are about.
  const isThere =
    template !== WAKE && !/^\/webhook-.*\{|\/(holds|shipments)\/\{|^\/providers\//.test(template);
  // Only what is not an object, or has two results, is refused there: few attacks are like that.
  const refused = template === "/operations/{token}" ? [400, 413, 415] : [400, 413, 415, 422];
  const expected = [405, ...(open ? [] : [401]), ...(body ? refused : [isThere ? 200 : 404])];
  const target = `${method} ${template}`;
  expect(
    expected.filter((status) => !statuses.has(`${target} ${status}`)).map((status) => `${target} ${status}`),
  ).toEqual([]);
}

/** Connections on which a request was begun, and nothing more comes. */
function holdHalfOpen(): Socket[] {
  const { hostname, port } = new URL(line.api.url);
  const head = `POST /orders HTTP/1.1\r\nhost: api\r\nauthorization: ${BEARER.authorization}\r\ncontent-type: application/json\r\n`;
  return Array.from({ length: HALF_OPEN }, (_, index) => {
    const socket = connect({ host: hostname, port: Number(port) });
    socket.on("error", () => {});
    socket.write(
      index % 2 === 0 ? head : `${head}content-length: 500000\r\n\r\n${" ".repeat(index * 1_000)}`,
    );
    return socket;
  });
}

/** Bytes that the API holds on to after collecting its garbage, and those that the system has given it. */
async function memory(): Promise<{ heap: number; rss: number }> {
  const asked = line.api.logs().length;
  line.api.process.kill("SIGUSR2");
  const measured = await waitFor("the API to tell its memory", () => {
    if (!line.api.process.running) throw new Error(`the API ended:\n${line.api.lines.slice(-20).join("\n")}`);
    return line.api
      .logs()
      .slice(asked)
      .find((each) => each["msg"] === "memory");
  });
  return { heap: Number(measured["heapUsed"]) + Number(measured["external"]), rss: Number(measured["rss"]) };
}

function differences(before: Record<string, string>, after: Record<string, string>): string[] {
  return Object.keys({ ...before, ...after }).filter((name) => before[name] !== after[name]);
}
