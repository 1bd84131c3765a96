import { execFile } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import net from "node:net";
import { promisify } from "node:util";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "@jest/globals";
import { z } from "zod";
import { DEMO_ORDER, DEMO_STOCK } from "../../../tools/launcher/demo-stock.ts";
import { isAlive } from "../../../tools/launcher/lock.js";
import { freePort } from "../../../tools/launcher/ports.ts";
import { findBinary, usualPlaces } from "../../../tools/launcher/servers/binaries.ts";
import { probeMysql } from "../../../tools/launcher/servers/probe.ts";
import { TestClient } from "../../support/client.ts";
import { Clone, type LauncherRun } from "../../support/clone.ts";
import { waitFor } from "../../support/wait-for.ts";

/** Runs its arguments and waits. In a group of their own, or the guard of the test would end them. */
const STAND_IN_NPM = `
  const [program, ...args] = process.argv.slice(1);
  const child = require("node:child_process").spawn(program, args, { detached: true, stdio: "inherit" });
  child.on("exit", (code) => process.exit(code));`;

/** Reads NAME=value lines. */
async function environmentOf(clone: Clone): Promise<Record<string, string>> {
  const { code, output } = await clone.runToEnd("services", ["env"]);
  expect(code).toBe(0);
  return Object.fromEntries(
    output.split("\n").flatMap((line) => (line ? [line.split(/=(.*)/).slice(0, 2)] : [])),
  );
}

const fields = z.record(z.string(), z.unknown());

async function get(url: string, key: string): Promise<{ status: number; body: Record<string, unknown> }> {
  const answer = await fetch(url, { headers: { authorization: `Bearer ${key}` } });
  return { status: answer.status, body: fields.parse(await answer.json()) };
}

describe("while Conveyor runs", () => {
  let clone: Clone;
  let run: LauncherRun;

  beforeAll(async () => {
    clone = new Clone();
    run = await clone.start();
  });
  afterAll(() => clone.remove());

  test("the terminal tells all that one wants to know", async () => {
    const { CONVEYOR_URL: url, CONVEYOR_API_KEY: key } = await environmentOf(clone);
    const output = run.output();
    for (const text of [
      `API         ${url}\n`,
      `API docs    ${url}/docs\n`,
      `Console     ${url}/console`,
      `Bull Board  ${url}/queues`,
      `Key         ${key}\n`,
      clone.path(".local/data"),
      "npm run reset",
    ]) {
      expect(output).toContain(text);
    }
    // The server that the tests use too: MySQL's where TEST_MYSQL asks for it.
    expect(output).toContain(`MySQL       ${await probeMysql(process.env["TEST_MYSQL_URL"]!)} on 127.0.0.1:`);
    expect(output).toMatch(/Redis {7}(Redis|Valkey) [\d.]+ on 127\.0\.0\.1:\d+/);
  });

  test("the console has its styles and its script", async () => {
    const { CONVEYOR_URL: url, CONVEYOR_API_KEY: key } = await environmentOf(clone);
    const headers = { authorization: `Bearer ${key}` };
    const page = await (await fetch(`${url}/console`, { headers })).text();
    const loaded = [...page.matchAll(/(?:src|href)="(\/console\/assets\/[^"]+)"/g)].map(([, path]) => path);
    expect(loaded.length).toBeGreaterThan(4);
    for (const path of loaded) expect((await fetch(`${url}${path}`, { headers })).status).toBe(200);
  });

  test("its code stays where it is while runs in the same folder, two at once, compile changed sources", async () => {
    const before = readdirSync(clone.path(".local/build"));
    writeFileSync(clone.path("src/changed.ts"), "export const changed = true;\n");
    const compile = `
      import { compileInto, makeRunFolder } from ${JSON.stringify(clone.path("tools/launcher/run-folder.ts"))};
      console.log(await compileInto(makeRunFolder("test")));`;
    const compiled = await Promise.all(
      [1, 2].map(() =>
        promisify(execFile)(process.execPath, ["--import", "tsx", "--input-type=module", "--eval", compile], {
          cwd: clone.folder,
        }),
      ),
    );

    for (const { stdout } of compiled) expect(existsSync(`${stdout.trim()}/src/changed.js`)).toBe(true);
    const kept = before.filter((name) => existsSync(clone.path(`.local/build/${name}/src/main.js`)));
    expect(kept).toHaveLength(1);
  });

  test("the command to paste places an order, which is delivered", async () => {
    const [, command = ""] = /(curl -s (?:.*\\\n)*.*)/.exec(run.output()) ?? [];
    const [, url] = /curl -s (\S+)/.exec(command) ?? [];
    const headers = [...command.matchAll(/-H '([^:]+): ([^']+)'/g)].map(([, name = "", value = ""]) => [
      name,
      value,
    ]);
    const [, body] = /-d '([^']+)'/.exec(command) ?? [];
    const answer = await fetch(url!, { method: "POST", headers: Object.fromEntries(headers), body: body! });
    expect(answer.status).toBe(202);
    const { id } = fields.parse(await answer.json());
    const key = clone.state().apiKey;
    await waitFor("the order to be delivered", async () => {
      return (await get(`${url}/${String(id)}`, key)).body["status"] === "DELIVERED";
    });
  });

  test("the demo stock is there, one product sold out", async () => {
    const { CONVEYOR_URL: url, CONVEYOR_API_KEY: key } = await environmentOf(clone);
    const soldOut = DEMO_STOCK.find((item) => item.onHand === 0)!;
    expect(await get(`${url}/stock/${soldOut.sku}`, key!)).toMatchObject({
      status: 200,
      body: { onHand: 0 },
    });
  });

  test("the data lies in the folder, for this user's eyes only", () => {
    expect(existsSync(clone.path(".local/data/mysql/conveyor"))).toBe(true);
    expect(existsSync(clone.path(".local/data/redis/appendonlydir"))).toBe(true);
    expect(existsSync(clone.path(".local/logs/api.log"))).toBe(true);
  });

  test("other programs are told where everything is, as NAME=value lines and nothing else", async () => {
    expect(await environmentOf(clone)).toEqual({
      DATABASE_URL: expect.stringMatching(/^mysql:\/\/conveyor:\w+@127\.0\.0\.1:\d+\/conveyor$/),
      REDIS_URL: expect.stringMatching(/^redis:\/\/:\w+@127\.0\.0\.1:\d+$/),
      CONVEYOR_URL: expect.stringMatching(/^http:\/\/127\.0\.0\.1:\d+$/),
      CONVEYOR_API_KEY: expect.stringMatching(/^ck_[0-9a-f]{32}$/),
      PAYMENTS_URL: expect.stringMatching(/^http:\/\/127\.0\.0\.1:\d+$/),
      PAYMENTS: "stripe",
      STRIPE_API_URL: expect.stringMatching(/^http:\/\/127\.0\.0\.1:\d+$/),
      STRIPE_SECRET_KEY: "sk_test_simulated",
      STRIPE_WEBHOOK_SECRET: "whsec_simulated",
      CARRIER_URL: expect.stringMatching(/^http:\/\/127\.0\.0\.1:\d+$/),
      PROVIDERS_MODULE: "tools/simulators/inventory",
      INVENTORY_SIMULATOR_URL: expect.stringMatching(/^http:\/\/127\.0\.0\.1:\d+$/),
    });
  });

  test("the providers are simulated by a process of their own, with books in the folder", async () => {
    const { PAYMENTS_URL: url } = await environmentOf(clone);
    const { id } = await new TestClient(clone.state().run!.conveyorUrl, {
      authorization: `Bearer ${clone.state().apiKey}`,
    }).order(DEMO_ORDER);
    await waitFor("the charge", async () =>
      (await (await fetch(`${url}/ledger`)).text()).includes(`"${id}:pay"`),
    );
    expect(readFileSync(clone.path(".local/data/simulators/ledger.jsonl"), "utf8")).toContain(`"${id}:pay"`);
  });

  test("payments are Stripe's: an order waits for its customer, and a webhook has it go on", async () => {
    const { STRIPE_API_URL: url } = await environmentOf(clone);
    const client = new TestClient(clone.state().run!.conveyorUrl, {
      authorization: `Bearer ${clone.state().apiKey}`,
    });
    const { id } = await client.order({ ...DEMO_ORDER, paymentToken: "pm_card_authenticationRequired" });
    const providerId = await waitFor("the order to wait for its customer", async () => {
      const { body } = await client.get<{ payments: { providerId: string; action?: object }[] }>(
        `/orders/${id}/payments`,
      );
      return body.payments[0]?.action && body.payments[0].providerId;
    });
    await fetch(`${url}/simulator/payment_intents/${providerId}/authenticate`, { method: "POST" });
    await client.orderIn(id, "DELIVERED");
    const declined = await client.order({ ...DEMO_ORDER, paymentToken: "pm_card_chargeDeclined" });
    await client.orderIn(declined.id, "CANCELLED");
  });

  test("people are told which processes run", async () => {
    const { output } = await clone.runToEnd("services", ["status"]);
    for (const name of ["api", "worker", "simulators", "mysql", "redis"]) {
      expect(output).toMatch(new RegExp(`^${name} +process ${clone.child(name).pid}$`, "m"));
    }
  });

  test("a second start says so, and leaves the first one alone", async () => {
    const { code, output } = await clone.runToEnd("start");
    expect(code).toBe(1);
    expect(output).toMatch(/^. Conveyor already runs in this folder: http:\S+ \(process \d+; .*\)\n$/);
    expect(
      ["api", "worker", "simulators", "mysql", "redis"].every((name) => isAlive(clone.child(name))),
    ).toBe(true);
  });

  test("a reset is refused", async () => {
    const { code, output } = await clone.runToEnd("reset", ["--yes"]);
    expect(code).toBe(1);
    expect(output).toMatch(/^. Conveyor is running in this folder \(process \d+\): stop it first.*\n$/);
    expect(existsSync(clone.path(".local/data/mysql/conveyor"))).toBe(true);
  });

  test("other clones run beside it, on ports of their own, also when they start at the same moment", async () => {
    const others = [new Clone(), new Clone()];
    try {
      await Promise.all(others.map((other) => other.start({ PORT: "" })));
      const all = await Promise.all([clone, ...others].map(environmentOf));
      // Which providers are simulated, and the simulated Stripe's keys, are the same everywhere.
      const shared = new Set(["PROVIDERS_MODULE", "PAYMENTS", "STRIPE_SECRET_KEY", "STRIPE_WEBHOOK_SECRET"]);
      for (const name of Object.keys(all[0]!).filter((each) => !shared.has(each))) {
        expect(new Set(all.map((environment) => environment[name])).size).toBe(3);
      }
    } finally {
      await Promise.all(others.map((other) => other.remove()));
    }
  });
});

describe("how it ends", () => {
  let clone: Clone;
  beforeAll(() => {
    clone = new Clone();
  });
  afterEach(() => clone.end());
  afterAll(() => clone.remove());

  test("Ctrl-C drains, stops everything, and succeeds; the data is there at the next start", async () => {
    const first = await clone.start();
    // As through npm, which passes on what the terminal has sent already.
    first.kill("SIGINT");
    first.kill("SIGINT");
    expect(await first.ended).toBe(0);
    expect(first.output()).toMatch(/Stopped \([\d.]+ s\)\n$/);
    await clone.untilNothingRuns();
    expect(readFileSync(clone.path(".local/logs/worker.log"), "utf8")).toContain('"msg":"stopped"');
    expect(await clone.runToEnd("services", ["env"])).toMatchObject({
      code: 1,
      output: expect.stringMatching(/^Conveyor is not running in .*: start it with npm start\n$/),
    });

    const second = await clone.start();
    expect(first.output()).toContain("Demo stock loaded");
    expect(second.output()).not.toContain("Demo stock loaded");
    expect(second.output()).not.toContain("Database:");
  });

  test.each(["SIGTERM", "SIGHUP", "SIGQUIT"] as const)("%s does the same", async (signal) => {
    const run = await clone.start();
    run.kill(signal);
    expect(await run.ended).toBe(0);
    expect(run.output()).toMatch(/Stopped \([\d.]+ s\)\n$/);
    await clone.untilNothingRuns();
  });

  test("a second Ctrl-C ends it at once, whatever hangs", async () => {
    const run = await clone.start();
    process.kill(clone.child("api").pid, "SIGSTOP");
    run.kill("SIGINT");
    const { children } = clone.state();
    await waitFor("the worker to stop", () => !isAlive(clone.child("worker")));
    // Too early a second one counts as part of the first.
    const timer = setInterval(() => run.kill("SIGINT"), 100);
    expect(await run.ended).toBe(130);
    clearInterval(timer);
    expect(children.some(isAlive)).toBe(false);
  });

  test("a Ctrl-C while it is still starting stops what was started so far", async () => {
    const run = clone.run("start", [], { PORT: "0" });
    await waitFor("the first process", () => run.output() !== "" && clone.state().children.some(isAlive));
    run.kill("SIGINT");
    expect(await run.ended).toBe(0);
    await clone.untilNothingRuns();
  });

  test("after SIGKILL nothing is left, and an immediate start works", async () => {
    const first = await clone.start();
    const { children } = clone.state();
    first.kill("SIGKILL");
    await first.ended;
    expect((await clone.runToEnd("services", ["env"])).code).toBe(1);
    await clone.start();
    expect(children).toHaveLength(5);
    expect(children.some(isAlive)).toBe(false);
  });

  test("when the npm that runs it is killed, it ends as well", async () => {
    const npm = [process.execPath, "--eval", STAND_IN_NPM];
    const run = await clone.start({ npm_lifecycle_event: "start" }, npm);
    run.kill("SIGKILL");
    await run.ended;
    expect(run.output()).toMatch(/Stopped \([\d.]+ s\)\n$/);
    await clone.untilNothingRuns();
  });

  test("METRICS_PORT is the worker's", async () => {
    const port = await freePort();
    const run = await clone.start({ METRICS_PORT: String(port) });
    const metrics = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
    expect(metrics).toContain("conveyor_worker_concurrency");
    run.kill("SIGINT");
    expect(await run.ended).toBe(0);
  });

  test("an API that dies again and again is given up", async () => {
    const run = await clone.start();
    let killed = 0;
    const timer = setInterval(() => {
      const { pid } = clone.child("api");
      if (pid === killed) return;
      killed = pid;
      process.kill(pid, "SIGKILL");
    }, 20);
    expect(await run.ended).toBe(1);
    clearInterval(timer);
    expect(run.output()).toContain("api exited 5 times in a minute");
    await clone.untilNothingRuns();
  });
});

describe("what it refuses", () => {
  let clone: Clone;
  beforeAll(() => {
    clone = new Clone();
  });
  afterEach(() => clone.end());
  afterAll(() => clone.remove());

  test("arguments it does not know", async () => {
    expect(await clone.runToEnd("start", ["--port"])).toEqual({
      code: 1,
      output: "✗ npm start takes no arguments: --port; see npm start -- --help\n",
    });
    const help = await clone.runToEnd("start", ["--help"]);
    expect([help.code, help.output]).toEqual([0, expect.stringMatching(/^npm start\n[^]*PORT, HOST/)]);
    expect((await clone.runToEnd("services", ["nonsense"])).output).toMatch(/^usage: .*\n$/);
    expect((await clone.runToEnd("reset", ["nonsense"])).output).toMatch(/usage: .*\n$/);
  });

  test("a PORT that is taken, before anything is started", async () => {
    const server = net.createServer().listen(0, "127.0.0.1");
    const address = await waitFor("the port", () => server.address() ?? undefined);
    const port = typeof address === "object" ? address.port : 0;
    const { code, output } = await clone.runToEnd("start", [], { PORT: String(port) });
    server.close();
    expect(code).toBe(1);
    expect(output).toMatch(new RegExp(`^✗ PORT is ${port}, which is in use.*\n$`));
    expect(existsSync(clone.path(".local/data"))).toBe(false);
  });

  test("a DATABASE_URL that does not answer, without falling back on a server of its own", async () => {
    const port = await freePort();
    const { code, output } = await clone.runToEnd("start", [], {
      DATABASE_URL: `mysql://user:secret@127.0.0.1:${port}/shop`,
      PORT: "0",
    });
    expect(code).toBe(1);
    expect(output).toContain(`DATABASE_URL: 127.0.0.1:${port} can't be used`);
    expect(output).not.toContain("secret");
    expect(existsSync(clone.path(".local/data"))).toBe(false);
  });

  test("settings that the API refuses, with its own words", async () => {
    const { code, output } = await clone.runToEnd("start", [], { PORT: "0", LOG_LEVEL: "loud" });
    expect(code).toBe(1);
    expect(output).toMatch(/exited while starting \(exit code 1\)/);
    expect(output).toContain("LOG_LEVEL must be one of");
    await clone.untilNothingRuns();
  });

  test("a reset without a terminal to ask on, and without --yes", async () => {
    await (
      await clone.start().then((run) => (run.kill("SIGINT"), run))
    ).ended;
    const refused = await clone.runToEnd("reset");
    expect(refused).toMatchObject({ code: 1, output: expect.stringContaining("npm run reset -- --yes") });
    expect(existsSync(clone.path(".local/data/mysql"))).toBe(true);

    writeFileSync(clone.path(".local/other"), "");
    expect(await clone.runToEnd("reset", ["--yes"])).toMatchObject({ code: 0 });
    expect(existsSync(clone.path(".local/data"))).toBe(false);
    expect(existsSync(clone.path(".local/packages"))).toBe(true);
    expect(await clone.runToEnd("reset", ["--yes"])).toEqual({
      code: 0,
      output: "There is no data to wipe\n",
    });

    const again = await clone.start();
    expect(again.output()).toContain("Demo stock loaded");
  });
});

describe("on a machine without servers and without Debian's packages", () => {
  let clone: Clone;
  let bin: string;
  let isBare: boolean;
  beforeAll(async () => {
    clone = new Clone();
    bin = clone.path("bin");
    mkdirSync(bin);
    symlinkSync("/bin/sh", `${bin}/sh`);
    // Servers in the usual places are found whatever PATH says.
    const found = await Promise.all([
      findBinary("mysql", usualPlaces(bin)),
      findBinary("redis", usualPlaces(bin)),
    ]);
    isBare = found.every((binary) => binary === undefined);
  });
  afterAll(() => clone.remove());

  test("one line says what to do", async () => {
    if (!isBare) return;
    const { code, output } = await clone.runToEnd("start", [], { PATH: bin, PORT: "0" });
    expect(code).toBe(1);
    expect(output).toMatch(
      /^✗ No MySQL and Redis on this machine: .+ \(or start Docker, or set DATABASE_URL and REDIS_URL\)\n$/,
    );
  });

  test("a container engine that answers is used", async () => {
    if (!isBare) return;
    const docker = `#!/bin/sh\ncase "$*" in *" up "*) echo "pulling $MYSQL_PASSWORD"; exit 18 ;; esac\n`;
    writeFileSync(`${bin}/docker`, docker, { mode: 0o755 });
    const { code, output } = await clone.runToEnd("start", [], { PATH: bin, PORT: "0" });
    expect(code).toBe(1);
    expect(output).toContain("docker compose exited while starting (exit code 18)");
    expect(output).toContain(`pulling ${clone.state().mysqlPassword}`);
    expect(clone.state().composeProject).toMatch(/^conveyor-[0-9a-f]{8}$/);
  });
});

describe("servers of the environment", () => {
  test("are used, and no others are started; the key may come from there as well", async () => {
    const clone = new Clone();
    const database = new URL(process.env["TEST_MYSQL_URL"]!);
    try {
      const { createConnection } = await import("mysql2/promise");
      const connection = await createConnection(database.href);
      await connection.query("CREATE DATABASE launcher_start CHARACTER SET utf8mb4");
      database.pathname = "/launcher_start";
      const redis = new URL(process.env["TEST_REDIS_URL"]!);
      redis.pathname = "/15";
      const key = "a-key-of-my-own-1234";
      const run = await clone.start({
        API_KEYS: `${key},another-key-5678-9012`,
        DATABASE_URL: database.href,
        REDIS_URL: redis.href,
      });
      expect(await environmentOf(clone)).toMatchObject({
        CONVEYOR_API_KEY: key,
        DATABASE_URL: database.href,
        REDIS_URL: redis.href,
      });
      expect(
        clone
          .state()
          .children.map(({ name }) => name)
          .toSorted(),
      ).toEqual(["api", "simulators", "worker"]);
      expect(existsSync(clone.path(".local/data"))).toBe(false);
      run.kill("SIGINT");
      expect(await run.ended).toBe(0);
      await connection.query("DROP DATABASE launcher_start");
      await connection.end();
    } finally {
      await clone.remove();
    }
  });

  test("providers of the environment are used, and none is simulated", async () => {
    const clone = new Clone();
    try {
      const own = { PAYMENTS_URL: "http://127.0.0.1:1", CARRIER_URL: "http://127.0.0.1:2" };
      await clone.start(own);
      expect(clone.state().children.map(({ name }) => name)).not.toContain("simulators");
      const told = await environmentOf(clone);
      expect(told).not.toHaveProperty("PAYMENTS_URL");
      expect(told).not.toHaveProperty("PROVIDERS_MODULE");
    } finally {
      await clone.remove();
    }
  });

  test("only one of the two given: the other is private", async () => {
    const clone = new Clone();
    try {
      const redis = new URL(process.env["TEST_REDIS_URL"]!);
      redis.pathname = "/14";
      await clone.start({ REDIS_URL: redis.href });
      expect(
        clone
          .state()
          .children.map(({ name }) => name)
          .toSorted(),
      ).toEqual(["api", "mysql", "simulators", "worker"]);
    } finally {
      await clone.remove();
    }
  });
});
