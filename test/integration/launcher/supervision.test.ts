import { once } from "node:events";
import net from "node:net";
import { afterAll, beforeAll, expect, jest, test } from "@jest/globals";
import { DEMO_ORDER } from "../../../tools/launcher/demo-stock.ts";
import { isAlive } from "../../../tools/launcher/lock.js";
import { probeMysql } from "../../../tools/launcher/servers/probe.ts";
import { TestClient } from "../../support/client.ts";
import { Clone, type LauncherRun } from "../../support/clone.ts";
import { waitFor } from "../../support/wait-for.ts";

jest.setTimeout(180_000);

/** What is lost with Redis is looked for soon. */
const ENV = { SWEEP_INTERVAL_MS: "100", SWEEP_AFTER_MS: "500", CARRIER_TRANSIT_MS: "0" };

let clone: Clone;
let run: LauncherRun;
let client: TestClient;
beforeAll(async () => {
  clone = new Clone();
  run = await clone.start(ENV);
  const { apiKey, run: now } = clone.state();
  client = new TestClient(now!.conveyorUrl, { authorization: `Bearer ${apiKey}` });
});
afterAll(() => clone.remove());

const NAMES = ["mysql", "redis", "api", "worker", "simulators"] as const;
type Name = (typeof NAMES)[number];
const pidOf = (name: Name) => clone.child(name).pid;

/** Kills it, and waits until it is gone. @returns its process id */
async function kill(name: Name): Promise<number> {
  const child = clone.child(name);
  process.kill(child.pid, "SIGKILL");
  await waitFor(`${name} to be gone`, () => !isAlive(child));
  return child.pid;
}

/** Runs `work` while nothing else than this one is started again. */
async function othersStay(name: Name, work: () => Promise<void>): Promise<void> {
  const others = NAMES.filter((other) => other !== name);
  const before = others.map(pidOf);
  await work();
  expect(others.map(pidOf)).toEqual(before);
  expect(run.output()).toMatch(/ exited unexpectedly \(SIGKILL\); restarting in 0\.5 s\n/);
}

/** Takes a port, and has nothing to say to anybody. */
async function listenOn(port: number): Promise<net.Server> {
  const server = net.createServer((socket) => socket.destroy()).listen(port, "127.0.0.1");
  await once(server, "listening");
  return server;
}

test("Redis is killed: orders are taken meanwhile, and delivered when it is back", async () => {
  await othersStay("redis", async () => {
    const url = clone.state().run?.redisUrl;
    let dead: number;
    let id: string;
    do {
      dead = await kill("redis");
      ({ id } = await client.order(DEMO_ORDER));
      // A busy machine may need longer for an order than it was away. The next time it is away for longer.
    } while (pidOf("redis") !== dead);
    await client.orderIn(id, "DELIVERED");
    expect(pidOf("redis")).not.toBe(dead);
    expect(clone.state().run?.redisUrl).toBe(url);
    expect(run.output()).toMatch(/^! (Redis|Valkey) [\d.]+ exited unexpectedly/m);
  });
});

test("MySQL is killed: orders are refused meanwhile, and taken and delivered when it is back", async () => {
  await othersStay("mysql", async () => {
    await kill("mysql");
    expect(await client.post("/orders", DEMO_ORDER)).toMatchObject({ status: 503 });
    const { id } = await waitFor("an order to be taken", async () => {
      const answer = await client.post("/orders", DEMO_ORDER);
      return answer.status === 202 && answer.body;
    });
    await client.orderIn(id, "DELIVERED");
    // The same server as that of the tests: MySQL where TEST_MYSQL asks for it.
    const version = await probeMysql(process.env["TEST_MYSQL_URL"]!);
    expect(run.output()).toContain(`! ${version} exited unexpectedly`);
  });
});

test.each(["worker", "api", "simulators"] as const)("the %s is killed: orders go on", async (name) => {
  await othersStay(name, async () => {
    await kill(name);
    const { id } = await waitFor("an order to be taken", () =>
      client.order(DEMO_ORDER).catch(() => undefined),
    );
    await client.orderIn(id, "DELIVERED");
  });
});

test("a server whose port was taken meanwhile is given up after some tries, with the reason", async () => {
  const port = Number(new URL(clone.state().run!.redisUrl).port);
  await kill("redis");
  // Its last threads may still be about to end, and with them its socket.
  const stranger = await waitFor("the port", () => listenOn(port).catch(() => undefined));
  expect(await run.ended).toBe(1);
  stranger.close();
  expect(run.output()).toMatch(/^! \S+ [\d.]+ could not start \(its port is in use\); restarting in 4 s$/m);
  expect(run.output()).toMatch(
    /^✗ \S+ [\d.]+ exited 5 times in a minute \(last: its port is in use\): .*redis\.log\n {4}\S/m,
  );
  await clone.untilNothingRuns();
});
