import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer } from "node:net";
import os from "node:os";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { createOrders } from "../../../db/new-orders.ts";
import { orders } from "../../../db/schema.ts";
import { freePort } from "../../../tools/launcher/ports.ts";
import { DEVELOPMENT_KEY } from "../../../src/composition/variables.ts";
import { createTestEnvironment, type TestEnvironment } from "../../support/environment.ts";
import { newOrder } from "../../support/orders.ts";
import { start, startApi, TEST_KEY } from "../../support/processes.ts";
import { waitFor } from "../../support/wait-for.ts";

let environment: TestEnvironment;
beforeAll(async () => {
  environment = await createTestEnvironment();
});
afterAll(() => environment.close());

/** What an API process says that must not start. */
async function refusal(
  env: Record<string, string>,
  databaseUrl = environment.databaseUrl,
): Promise<string[]> {
  const api = start("src/main.ts", {
    databaseUrl,
    redisUrl: environment.redisUrl,
    env: { PORT: "0", API_KEYS: TEST_KEY, ...env },
  });
  const { code } = await api.process.exited;
  expect(code).toBe(1);
  return [...api.lines];
}

function changedUrl(change: (url: URL) => void): string {
  const url = new URL(environment.databaseUrl);
  change(url);
  return url.href;
}

test("listens on the loopback address unless told otherwise, at the port that it is told", async () => {
  const port = await freePort();
  const api = await startApi({ ...environment, env: { PORT: String(port) } });
  expect(api.url).toBe(`http://127.0.0.1:${port}`);
  expect((await fetch(`${api.url}/health/live`)).status).toBe(200);
  expect(await api.stop()).toBe(0);
});

test.each(["src/main.ts", "workers/main.ts"])(
  "%s that has not started yet, since MySQL is silent, exits with 0 on SIGTERM",
  async (script) => {
    const silent = createServer().listen(0, "127.0.0.1");
    await once(silent, "listening");
    const address = silent.address();
    const port = typeof address === "object" ? address?.port : undefined;
    const starting = start(script, {
      databaseUrl: `mysql://shop@127.0.0.1:${port}/shop`,
      redisUrl: environment.redisUrl,
      env: { PORT: "0", API_KEYS: TEST_KEY },
    });
    await waitFor("its handlers", () => handles(starting.process.pid, SIGQUIT));
    starting.process.kill("SIGTERM");
    // Without a handler, it would be killed by the signal, and ignore it as the first process of a container.
    expect(await starting.process.exited).toEqual({ code: 0, signal: null });
    silent.close();
  },
);

/** Node has a handler of its own for SIGTERM and SIGINT, but not for this one. */
const { SIGQUIT } = os.constants.signals;

/** Whether a process has a handler for a signal. Only Linux says so. */
function handles(pid: number, signal: number): boolean {
  const caught = /^SigCgt:\s*(\w+)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
  return ((BigInt(`0x${caught}`) >> BigInt(signal - 1)) & 1n) === 1n;
}

describe("does not start, with one line that says why,", () => {
  test("on a port that is taken, and names PORT", async () => {
    const other = createServer().listen(0, "127.0.0.1");
    await once(other, "listening");
    const address = other.address();
    const port = typeof address === "object" ? String(address?.port) : "";
    expect(await refusal({ PORT: port })).toEqual([
      `port ${port} of 127.0.0.1 is in use: set PORT to another one`,
    ]);
    other.close();
  });

  test("on an address that is another machine's, and names HOST", async () => {
    expect(await refusal({ HOST: "192.0.2.1" })).toEqual([
      "192.0.2.1 is not an address of this machine: set HOST to one",
    ]);
  });

  test("without a database that answers", async () => {
    const port = await freePort();
    const url = changedUrl((each) => (each.port = String(port)));
    expect(await refusal({}, url)).toEqual([
      "the database of DATABASE_URL cannot be used: MySQL did not answer: ECONNREFUSED",
    ]);
  });

  test("with a password that MySQL refuses, which it keeps to itself", async () => {
    const url = changedUrl((each) => (each.password = "not-the-password"));
    const lines = await refusal({}, url);
    expect(lines).toEqual([
      expect.stringMatching(/^the database of DATABASE_URL cannot be used: .*\(1045\)$/),
    ]);
    expect(lines.join()).not.toContain("not-the-password");
  });

  test("with a database that does not exist", async () => {
    const url = changedUrl((each) => (each.pathname = "/nothing_here"));
    expect(await refusal({}, url)).toEqual([expect.stringMatching(/cannot be used: .*\(1049\)$/)]);
  });

  test("with a database that was not migrated", async () => {
    const empty = await createTestEnvironment({ migrated: false });
    expect(await refusal({}, empty.databaseUrl)).toEqual([
      expect.stringMatching(/^the database lacks \d+ migrations: run "npm run migrate" first$/),
    ]);
    await empty.close();
  });

  test("with orders in a status that no stage leads to", async () => {
    const { database } = environment;
    const order = newOrder();
    await createOrders(database, [order]);
    await database.transaction((queries) => queries.update(orders).set({ status: "UNHEARD_OF" }));
    expect(await refusal({})).toEqual([
      expect.stringMatching(/^there are orders with a status that no stage .* leads to: UNHEARD_OF;/),
    ]);
    await database.transaction((queries) => queries.delete(orders));
  });
});

describe("in production", () => {
  const message = "  API_KEYS must be set to keys of your own when NODE_ENV is production";

  test.each([
    ["without a key", ""],
    ["with the key for developers", DEVELOPMENT_KEY],
    ["with a key that everybody tries", "changemechangeme"],
    ["with such a key among others", `${TEST_KEY},0123456789abcdef`],
  ])("does not start %s", async (_, keys) => {
    const { paymentsUrl: PAYMENTS_URL, carrierUrl: CARRIER_URL } = environment.providers;
    const lines = await refusal({ NODE_ENV: "production", API_KEYS: keys, PAYMENTS_URL, CARRIER_URL });
    expect(lines).toEqual(["the configuration is invalid:", message]);
  });

  test("does not start without providers, and says so with all other faults", async () => {
    const lines = await refusal({ NODE_ENV: "production", API_KEYS: "" });
    expect(lines).toEqual([
      "the configuration is invalid:",
      message,
      expect.stringMatching(/^ {2}PAYMENTS_URL must be set to the address of a payment provider/),
      expect.stringMatching(/^ {2}CARRIER_URL must be set to the address of a carrier/),
    ]);
  });

  test("starts with a key of its own", async () => {
    const api = await startApi({ ...environment, env: { NODE_ENV: "production" } });
    expect(await api.stop()).toBe(0);
  });
});

test("outside of production starts without a key, with the one for developers", async () => {
  const api = await startApi({ ...environment, env: { API_KEYS: "" } });
  const { status } = await fetch(`${api.url}/orders`, {
    headers: { authorization: `Bearer ${DEVELOPMENT_KEY}` },
  });
  expect(status).toBe(200);
  expect(await api.stop()).toBe(0);
});

test("tells all that is wrong with the configuration at once", async () => {
  const lines = await refusal(
    {
      REDIS_URL: "http://:secret@127.0.0.1",
      PORT: "70000",
      API_KEYS: "short",
      NODE_ENV: "staging",
      LOG_LEVEL: "loud",
      DATABASE_POOL_SIZE: "many",
      SHUTDOWN_TIMEOUT_MS: "-1",
      STAGE_ATTEMPTS: "0",
    },
    "",
  );
  expect(lines[0]).toBe("the configuration is invalid:");
  const named = lines.slice(1).map((line) => line.trim().split(" ", 1)[0]);
  expect(new Set(named)).toEqual(
    new Set([
      "API_KEYS",
      "DATABASE_POOL_SIZE",
      "DATABASE_URL",
      "LOG_LEVEL",
      "NODE_ENV",
      "PORT",
      "REDIS_URL",
      "SHUTDOWN_TIMEOUT_MS",
      "STAGE_ATTEMPTS",
    ]),
  );
  expect(lines.join()).not.toMatch(/secret|short\b/);
});
