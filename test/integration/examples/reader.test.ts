import { execFileSync, spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";
import { afterEach, beforeEach, expect } from "@jest/globals";
import { EventLog } from "../../../db/event-log.ts";
import { createOrders } from "../../../db/new-orders.ts";
import { connectProducer, connectWorker } from "../../../queues/connection.ts";
import { streamOf } from "../../../src/events/stream.ts";
import { createLogger } from "../../../src/platform/log.ts";
import { Relay } from "../../../src/events/relay/relay.ts";
import { createTestEnvironment, type TestEnvironment } from "../../support/environment.ts";
import { newOrder } from "../../support/orders.ts";
import { startApi, TEST_KEY } from "../../support/processes.ts";
import { withPython } from "../../support/python.ts";
import { waitFor } from "../../support/wait-for.ts";

const READER = path.resolve(import.meta.dirname, "../../../examples/reader.py");
const GROUP = "billing";

let environment: TestEnvironment;
let folder: string;
let closing: (() => unknown)[];
beforeEach(async () => {
  environment = await createTestEnvironment();
  folder = mkdtempSync(path.join(os.tmpdir(), "conveyor-reader-"));
  closing = [];
});
afterEach(async () => {
  for (const close of closing.toReversed()) await close();
  rmSync(folder, { recursive: true });
  await environment.close();
});

/** A reader that takes over from others after half a second. */
function startReader(
  consumer: string,
  more: readonly string[] = [],
): { child: ChildProcess; lines: string[] } {
  const child = spawn(
    "python3",
    [
      READER,
      `--redis=${environment.redisUrl}`,
      `--group=${GROUP}`,
      `--consumer=${consumer}`,
      `--state=${path.join(folder, "state.sqlite3")}`,
      "--claim-after=0.5",
      ...more,
    ],
    { stdio: ["ignore", "pipe", "inherit"], env: { ...process.env, CONVEYOR_API_KEY: TEST_KEY } },
  );
  const lines: string[] = [];
  createInterface({ input: child.stdout }).on("line", (line) => lines.push(line));
  closing.push(async () => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.kill("SIGKILL");
    await once(child, "exit");
  });
  return { child, lines };
}

function startRelay(length = 100_000): Relay {
  const redis = connectProducer(environment.redisUrl);
  redis.on("error", () => undefined);
  const relay = new Relay({
    database: environment.database,
    redis,
    connectListener: () => connectWorker(environment.redisUrl),
    length,
    log: createLogger({ name: "test", level: "silent" }),
  });
  relay.start();
  closing.push(
    () => redis.disconnect(),
    () => relay.stop(),
  );
  return relay;
}

async function write(count: number): Promise<void> {
  await createOrders(
    environment.database,
    Array.from({ length: count }, () => newOrder()),
  );
}

const relayed = (relay: Relay) => waitFor("all to be relayed", async () => (await relay.lag()).events === 0);

/** Ids of all that readers have worked on, in the order in which they say so. */
const handled = (...readers: { lines: string[] }[]) =>
  readers.flatMap(({ lines }) => lines.map((line) => Number(line.split(" ")[0])));

const idsInLog = async () =>
  (await new EventLog(environment.database).read({ after: 0, limit: 100_000 })).map(({ id }) => id);

const sorted = (ids: readonly number[]) => ids.toSorted((one, other) => one - other);

withPython(
  "readers share the events, each works on its own once, and the dead one's go to the others",
  async () => {
    await relayed(startRelay());
    // A reader that has taken some, and is gone.
    await environment.redis.xgroup("CREATE", streamOf(environment.redis), GROUP, "0", "MKSTREAM");
    await write(50);
    await waitFor(
      "the events",
      async () => (await environment.redis.xlen(streamOf(environment.redis))) === 50,
    );
    await environment.redis.xreadgroup(
      "GROUP",
      GROUP,
      "dead",
      "COUNT",
      50,
      "STREAMS",
      streamOf(environment.redis),
      ">",
    );

    const first = startReader("first");
    await waitFor("the dead one's events", () => first.lines.length === 50);
    const second = startReader("second");
    for (let times = 0; times < 20; times++) await write(25);
    await waitFor("some to be worked on", () => first.lines.length > 100);
    first.child.kill("SIGKILL");
    await write(50);
    const all = await idsInLog();
    expect(all).toHaveLength(600);
    // What the first one has worked on, and not said any more, the second one leaves out.
    await waitFor("all to be worked on", async () => {
      const pending = await environment.redis.xpending(streamOf(environment.redis), GROUP);
      return pending[0] === 0 && (await state()).length === all.length;
    });
    expect(sorted(await state())).toEqual(all);
    const said = handled(first, second);
    expect(new Set(said).size).toBe(said.length);
    expect(second.lines.length).toBeGreaterThan(0);
  },
);

withPython(
  "a reader that was away when Redis lost its data gets what the stream no longer has from the API",
  async () => {
    const relay = startRelay(100);
    await relayed(relay);
    const api = await startApi({ ...environment });
    closing.push(() => api.stop());
    const reader = startReader("first");
    await write(10);
    await waitFor("the first events", () => reader.lines.length === 10);
    reader.child.kill("SIGTERM");
    await once(reader.child, "exit");
    await write(1_000);
    await relayed(relay);
    await environment.redis.flushdb();
    await write(10);
    await waitFor(
      "the stream to be filled again",
      async () => (await environment.redis.xlen(streamOf(environment.redis))) > 100,
    );
    const again = startReader("first", [`--api=${api.url}`]);
    await waitFor("all to be worked on", () => again.lines.length === 1_010);
    expect(handled(reader, again)).toEqual(await idsInLog());
  },
);

async function state(): Promise<number[]> {
  const script =
    "import sqlite3,sys;print([r[0] for r in sqlite3.connect(sys.argv[1]).execute('SELECT id FROM handled')])";
  return JSON.parse(
    execFileSync("python3", ["-c", script, path.join(folder, "state.sqlite3")], { encoding: "utf8" }),
  );
}
