import { execFile } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { promisify } from "node:util";
import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import { configure, loadConfig, PROCESSES } from "../../src/composition/config.ts";
import { readConfigFile } from "../../src/composition/config-file.ts";
import { ORDER_FIELDS } from "../../src/order/http-stage.ts";
import { lifecycle, usePipeline } from "../../src/order/lifecycle.ts";
import { PIPELINE } from "../../src/order/pipeline.ts";
import type { Ports } from "../../src/order/ports.ts";
import { newOrder } from "../support/orders.ts";

const SECRET = `whsec_${Buffer.alloc(32, 7).toString("base64")}`;
const SERVERS = { DATABASE_URL: "mysql://localhost/shop", REDIS_URL: "redis://localhost" };
const FRAUD = { name: "fraud-check", to: "CHECKED", url: "http://127.0.0.1:8080/check" };

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(path.join(os.tmpdir(), "conveyor-config-"));
});
afterEach(() => {
  rmSync(folder, { recursive: true });
  usePipeline(PIPELINE);
});

/** Writes a file; gives the environment that names it. */
function file(content: unknown, name = "conveyor.config.json"): { CONVEYOR_CONFIG: string } {
  const at = path.join(folder, name);
  writeFileSync(at, typeof content === "string" ? content : JSON.stringify(content));
  return { CONVEYOR_CONFIG: at };
}

const faultsIn = async (content: unknown, environment: Record<string, string> = {}) =>
  (await readConfigFile({ ...environment, ...file(content) })).faults;

describe("a configuration file", () => {
  test("sets the pipeline of the process, HTTP stages among it", async () => {
    const http = { ...FRAUD, secret: SECRET, undo: true, fields: ["total"], timeout: 2_000 };
    await configure(PROCESSES.worker, {
      ...SERVERS,
      ...file({ pipeline: ["reserve", { http }, "pay", "ship", "deliver"] }),
    });
    expect(lifecycle.statuses).toEqual([
      "CREATED",
      "RESERVED",
      "CHECKED",
      "PAID",
      "SHIPPED",
      "DELIVERED",
      "CANCELLED",
    ]);
    expect(lifecycle.due("RESERVED")?.step).toMatchObject({
      name: "fraud-check",
      settings: { timeout: 2_000 },
      http: { url: FRAUD.url, secret: SECRET },
    });
  });

  test("is looked for in the folder, and leaves all as it is where there is none", async () => {
    expect(await readConfigFile({}, folder)).toMatchObject({ file: undefined, stages: PIPELINE, faults: [] });
    file({ pipeline: ["reserve"] });
    const { stages } = await readConfigFile({}, folder);
    expect(stages.map(({ name }) => name)).toEqual(["reserve"]);
    const inside = path.join(folder, "shop");
    mkdirSync(path.join(inside, "config"), { recursive: true });
    file({ pipeline: ["pay"] }, "shop/config/conveyor.config.json");
    expect(await readConfigFile({}, inside)).toMatchObject({ stages: [{ name: "pay" }], faults: [] });
  });

  test("gives the defaults of variables, which win over it", async () => {
    const names = file({ payments: "http://pay:1", carrier: "http://carry:1", inventory: "http://stock:1" });
    const config = await configure(PROCESSES.worker, {
      ...SERVERS,
      ...names,
      NODE_ENV: "production",
      CARRIER_URL: "http://other:2",
    });
    expect(config).toMatchObject({
      PAYMENTS_URL: "http://pay:1",
      CARRIER_URL: "http://other:2",
      INVENTORY_URL: "http://stock:1",
    });
  });

  test("takes a secret from a variable", async () => {
    const content = { pipeline: [{ http: { ...FRAUD, secret: { env: "FRAUD_SECRET" } } }] };
    const { stages, faults } = await readConfigFile({ ...file(content), FRAUD_SECRET: SECRET });
    expect([stages[0]?.http?.secret, faults]).toEqual([SECRET, []]);
    expect(await faultsIn(content)).toEqual([
      "conveyor.config.json pipeline[0].http.secret is in FRAUD_SECRET, which is not set",
    ]);
  });

  test("is refused with every fault at once, and those of the environment, and changes nothing", async () => {
    const environment = {
      ...SERVERS,
      PORT: "high",
      ...file({
        pipline: [],
        payments: 7,
        carrier: "ftp://carrier",
        pipeline: [
          "reserve",
          "frauds",
          { http: { ...FRAUD, url: "fraud:8080", undo: "yes", retries: 3, backoff: { delay: "1s" } } },
          { http: { ...FRAUD, name: "Fraud", to: "RESERVED", url: "ftp://fraud", secret: "hush" } },
          { https: FRAUD },
          "pay",
          "pay",
          { module: "./nothing.ts" },
          null,
        ],
      }),
    };
    const error = await configure(PROCESSES.api, environment).then(
      () => undefined,
      (reason: Error) => reason,
    );
    const at = "  conveyor.config.json";
    expect(error).toMatchObject({ name: "ConfigError" });
    expect(error?.message.split("\n")).toEqual([
      "the configuration is invalid:",
      `${at} pipline is not known; known are pipeline, payments, carrier, inventory`,
      `${at} payments must be an address, {"module": "./provider.ts"} or a provider`,
      `${at} pipeline[1] "frauds" is no stage of Conveyor's own (${PIPELINE.map(({ name }) => name).join(", ")}): one of yours is {"http": {...}} or {"module": "./stage.ts"}`,
      `${at} pipeline[2].http.undo must be true or false`,
      `${at} pipeline[2].http.backoff.delay must be a whole number from 1 to 3600000`,
      `${at} pipeline[2].http.backoff.jitter must be a number from 0 to 1`,
      `${at} pipeline[2].http.retries is not an option of an HTTP stage`,
      `${at} pipeline[4] must be the name of a stage, a stage, {"http": {...}} or {"module": "./stage.ts"}`,
      expect.stringMatching(/^ {2}conveyor\.config\.json pipeline\[7\] \.\/nothing\.ts can't be loaded: /),
      `${at} pipeline[8] must be the name of a stage, a stage, {"http": {...}} or {"module": "./stage.ts"}`,
      `${at} pipeline the URL of stage fraud-check is not an http or https address without user and password`,
      `${at} pipeline the URL of stage Fraud is not an http or https address without user and password`,
      `${at} pipeline the secret of stage Fraud is not whsec_ and the base64 of at least 24 bytes`,
      `${at} pipeline the stage name "Fraud" does not match /^[a-z][a-z0-9-]{0,31}$/`,
      `${at} pipeline the status RESERVED of stage Fraud is already used`,
      `${at} pipeline the stage name pay is already used`,
      `${at} pipeline the status PAID of stage pay is already used`,
      "  PORT must be a whole number from 0 to 65535",
      `${at} carrier must be an address that begins with http:// or https://`,
    ]);
    expect(lifecycle.stages).toBe(PIPELINE);
  });

  test.each([
    ["no JSON", "{pipeline: }", /^conveyor\.config\.json can't be read: .*JSON/],
    ["a list", [], /^conveyor\.config\.json must be an object/],
    ["a pipeline that is none", { pipeline: "reserve" }, /^conveyor\.config\.json pipeline must be a list/],
    ["no stages", { pipeline: [] }, /^conveyor\.config\.json pipeline there are no stages$/],
    [
      "an HTTP stage without options",
      { pipeline: [{ http: null }] },
      /pipeline\[0\]\.http must be an object$/,
    ],
  ])("is refused: %s", async (_what, content, fault) => {
    expect(await faultsIn(content)).toEqual([expect.stringMatching(fault)]);
  });

  test("is refused with all that is wrong of an HTTP stage, and between it and the others", async () => {
    const http = { name: "pay", to: "paid", url: "fraud", secret: "hush", timeout: "1s" };
    expect(await faultsIn({ pipeline: ["pay", { http }] })).toEqual([
      "conveyor.config.json pipeline[1].http.timeout must be a whole number from 10 to 600000",
      "conveyor.config.json pipeline the URL of stage pay is not an http or https address without user and password",
      "conveyor.config.json pipeline the secret of stage pay is not whsec_ and the base64 of at least 24 bytes",
      'conveyor.config.json pipeline the status "paid" of stage pay does not match /^[A-Z][A-Z0-9_]{0,31}$/',
      "conveyor.config.json pipeline the stage name pay is already used",
    ]);
    const unusual = { pipeline: [{ http: { ...FRAUD, secret: { variable: "FRAUD_SECRET" } } }] };
    expect(await faultsIn(unusual)).toEqual([
      'conveyor.config.json pipeline[0].http.secret must be a text or {"env": "NAME"}',
    ]);
    const bad = { pipeline: [{ http: { ...FRAUD, secret: { env: "FRAUD_SECRET" } } }] };
    expect(await faultsIn(bad, { FRAUD_SECRET: "badset" })).toEqual([
      "conveyor.config.json pipeline the secret of stage fraud-check is not whsec_ and the base64 of at least 24 bytes",
    ]);
  });

  test("is refused with what a stage of a module has that is wrong", async () => {
    file(
      `module.exports = {
        name: "notice", to: "NOTICED", run: "later", undo: 3, pointOfNoReturn: "yes",
        settings: { concurrency: 0, timeout: "10s", backoff: { delay: -1 }, retries: 3 },
      };`,
      "notice.cjs",
    );
    file("module.exports = { names: [] };", "other.cjs");
    file("throw new Error('no\\nlicence');", "broken.cjs");
    const at = "conveyor.config.json pipeline";
    const pipeline = ["./notice.cjs", "./other.cjs", "./broken.cjs", ""].map((module) => ({ module }));
    expect(await faultsIn({ pipeline })).toEqual([
      `${at}[0].run must be a function`,
      `${at}[0].undo must be a function`,
      `${at}[0].pointOfNoReturn must be true or false`,
      `${at}[0].settings.concurrency must be a whole number from 1 to 10000`,
      `${at}[0].settings.backoff.delay must be a whole number from 1 to 3600000`,
      `${at}[0].settings.backoff.jitter must be a number from 0 to 1`,
      `${at}[0].settings.timeout must be a whole number from 10 to 600000`,
      `${at}[0].settings.retries is not a setting of a stage`,
      `${at}[1] ./other.cjs has no stage as its default export: defineStage({ name, to, run })`,
      `${at}[2] ./broken.cjs can't be loaded: Error: no licence`,
      `${at}[3].module must be a path`,
    ]);
  });

  test("is refused with what its providers lack, and with all else if one can't be made", async () => {
    file(
      "module.exports = class { ping() {} authorize() {} capture = true; keepsKeys = 'long' };",
      "class.cjs",
    );
    file("module.exports = () => { throw new Error('no key'); };", "throws.cjs");
    file("module.exports = async () => ({ ping() {}, move() {} });", "inventory.cjs");
    file("const Provider = require('./class.cjs'); module.exports = () => new Provider();", "payments.cjs");
    const given = {
      payments: { module: "./payments.cjs" },
      carrier: { module: "./throws.cjs" },
      inventory: { module: "./inventory.cjs" },
      pipeline: ["reserve", "frauds"],
    };
    const at = "conveyor.config.json";
    expect(await faultsIn(given)).toEqual([
      `${at} payments lacks capture(), cancel(), find(), refund(), findRefund()`,
      `${at} carrier can't be made: Error: no key`,
      `${at} inventory lacks release()`,
      expect.stringMatching(/pipeline\[1\] "frauds" is no stage of Conveyor's own/),
    ]);
  });

  test.each([
    ["payments", "", 'must be an address, {"module": "./provider.ts"} or a provider'],
    ["payments", "paypal", "must be one of http, stripe"],
    ["carrier", "ups", "must be one of http, easypost"],
    ["inventory", "warehouse", "must be an address that begins with http:// or https://"],
    ["inventory", { module: "" }, ""],
    ["payments", { module: "./nothing.ts", key: 1 }, "must be"],
    [
      "payments",
      { modul: "./payments.ts" },
      'must be an address, {"module": "./provider.ts"} or a provider: modul is not known',
    ],
  ])("is refused with %s: %j", async (name, value, what) => {
    const environment = { ...SERVERS, ...file({ [name]: value }) };
    await expect(configure(PROCESSES.worker, environment)).rejects.toThrow(
      `the configuration is invalid:\n  conveyor.config.json ${name} ${what}`.trim(),
    );
  });

  test("may begin with a byte order mark, and is refused with names that are there twice", async () => {
    const { stages, faults } = await readConfigFile(file('\uFEFF{"pipeline": ["reserve"]}'));
    expect([stages.length, faults]).toEqual([1, []]);
    const twice = `{"pipeline": ["reserve", {"http": {"name": "a", "to": "A", "url": "http://a", "u\\u0072l": "http://b"}}],
      "payments": "http://p", "carrier": "http://payments", "payments" : "stripe"}`;
    expect(await faultsIn(twice)).toEqual([
      "conveyor.config.json pipeline[1].http.url is there twice",
      "conveyor.config.json payments is there twice",
    ]);
  });

  test("is refused when it, or a module that it names, is never ready, and keeps the process alive until then", async () => {
    const never = "await new Promise(() => undefined);";
    file(never, "stage.mjs");
    file("module.exports = () => new Promise(() => undefined);", "provider.cjs");
    const names = { pipeline: [{ module: "./stage.mjs" }], payments: { module: "./provider.cjs" } };
    const late = "Error: it was not ready within 0.5 s: does it await what never comes?";
    for (const [name, content, faults] of [
      ["conveyor.config.mjs", never, [`conveyor.config.mjs can't be read: ${late}`]],
      [
        "conveyor.config.json",
        names,
        [
          `conveyor.config.json payments can't be made: ${late}`,
          `conveyor.config.json pipeline[0] ./stage.mjs can't be loaded: ${late}`,
        ],
      ],
    ] as const) {
      const { CONVEYOR_CONFIG } = file(content, name);
      // A process with nothing else to do: Node ends it when nothing can happen any more.
      const reader = new URL("../../src/composition/config-file.ts", import.meta.url).href;
      const script = `import { readConfigFile } from ${JSON.stringify(reader)};
        const { faults } = await readConfigFile({ CONVEYOR_CONFIG: ${JSON.stringify(CONVEYOR_CONFIG)} }, ".", 500);
        console.log(JSON.stringify(faults));`;
      const given = ["--import", "tsx", "--input-type=module", "--eval", script];
      const { stdout } = await promisify(execFile)(process.execPath, given);
      expect(JSON.parse(stdout)).toEqual(faults);
    }
  }, 60_000);

  test("is refused where its name tells nothing that can be read", async () => {
    const { faults } = await readConfigFile(file("pipeline: []", "conveyor.yaml"));
    expect(faults).toEqual(["conveyor.yaml must end in .ts, .mts, .js, .mjs, .cjs or .json"]);
  });

  test("gives a stage of a module an order of its own", async () => {
    const changing = `(order, { waited }) => {
        order.total = 1; order.id = "x"; order.lines[0].quantity = 5; waited.since.setTime(0); return {};
      }`;
    file(
      `module.exports = Object.freeze({ name: "notice", to: "NOTICED", pointOfNoReturn: true, run: ${changing}, undo: ${changing} });`,
      "notice.cjs",
    );
    const { stages } = await readConfigFile(file({ pipeline: [{ module: "./notice.cjs" }] }));
    const [stage] = stages;
    expect(stage).toMatchObject({ name: "notice", to: "NOTICED", pointOfNoReturn: true });
    const given = () => ({ ...newOrder(), records: {} });
    const [order, before] = [given(), given()];
    const same = { ...before, id: order.id, createdAt: order.createdAt };
    const waited = { for: "x", since: new Date(5), until: null, isOver: false };
    const ports: Ports = Object.create(null);
    const context = {
      ports,
      runKey: "",
      undoKey: "",
      attempt: 1,
      now: new Date(),
      waited,
      signal: AbortSignal.abort(),
    };
    expect(await stage?.run(order, context)).toEqual({});
    expect(await stage?.undo?.(order, context)).toEqual({});
    expect(order).toEqual(same);
    expect(waited.since).toEqual(new Date(5));
  });

  test("is refused where it is a folder", async () => {
    const { faults } = await readConfigFile({ CONVEYOR_CONFIG: folder });
    expect(faults).toEqual([`${path.basename(folder)} is a folder: name the file in it`]);
  });

  test("is refused where it is missing, or where there are two", async () => {
    const missing = await readConfigFile({ CONVEYOR_CONFIG: "./nowhere.json" }, folder);
    expect(missing.faults).toEqual([expect.stringMatching(/^nowhere\.json can't be read: .*ENOENT/)]);
    file("export default {}", "conveyor.config.ts");
    mkdirSync(path.join(folder, "config"));
    file({}, "config/conveyor.config.json");
    expect((await readConfigFile({}, folder)).faults).toEqual([
      "conveyor.config.ts and config/conveyor.config.json: keep one of them, or name it in CONVEYOR_CONFIG",
    ]);
  });

  test("is refused in production when nothing signs the requests to its stages", async () => {
    const production = {
      ...SERVERS,
      NODE_ENV: "production",
      PAYMENTS_URL: "http://p",
      CARRIER_URL: "http://c",
    };
    const unsigned = { ...production, ...file({ pipeline: ["reserve", { http: FRAUD }] }) };
    await expect(configure(PROCESSES.worker, unsigned)).rejects.toThrow(
      "SIGNING_SECRET must be set when NODE_ENV is production, or the stage fraud-check needs a secret of its own",
    );
    await configure(PROCESSES.worker, { ...unsigned, SIGNING_SECRET: SECRET });
  });
});

test("an HTTP stage may ask for every field of an order", () => {
  const { id: _id, idempotency: _idempotency, ...fields } = newOrder();
  expect(ORDER_FIELDS.toSorted()).toEqual(Object.keys(fields).toSorted());
});

test("an environment alone has nothing to say about providers in the process", () => {
  expect(loadConfig(PROCESSES.worker, { ...SERVERS, providers: "mine" }).providers).toBeUndefined();
});
