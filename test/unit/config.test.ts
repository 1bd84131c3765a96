import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "@jest/globals";
import { API, PAGES } from "../../src/api/routes.ts";
import { isRoute } from "../../src/api/route.ts";
import { API_PROCESS } from "../../src/composition/api-config.ts";
import {
  configure,
  hasQueues,
  loadConfig,
  PROCESSES,
  SECRETS,
  stageOverrides,
} from "../../src/composition/config.ts";
import { DEVELOPMENT_KEY, VARIABLES } from "../../src/composition/variables.ts";
import { ConfigError } from "../../src/platform/config-error.ts";
import { parseDuration } from "../../src/platform/duration.ts";
import { usePipeline } from "../../src/order/lifecycle.ts";
import { PIPELINE } from "../../src/order/pipeline.ts";
import { pay } from "../../src/order/stages/pay.ts";
import { makeTempFolder } from "../../tools/launcher/temp-folder.ts";

const SERVERS = { DATABASE_URL: "mysql://u:p@localhost:3306/shop", REDIS_URL: "redis://localhost:6379" };
const PROVIDERS = { PAYMENTS_URL: "http://payments:8080", CARRIER_URL: "http://carrier:8080" };
const SIGNING_SECRET = `whsec_${Buffer.alloc(32, "key").toString("base64")}`;
const FRAUD = { name: "fraud", to: "CHECKED", url: "http://fraud:8080" };
const PROVIDERS_MISSING = [
  "PAYMENTS_URL must be set to the address of a payment provider when NODE_ENV is production: see docs/providers.md",
  "CARRIER_URL must be set to the address of a carrier when NODE_ENV is production: see docs/providers.md",
];

const REDIS_SCHEMES =
  "must start with redis://, redis+sentinel://, redis+cluster:// (rediss for TLS) or unix://";

const READ = { ...PROCESSES, api: API_PROCESS };

function faultsOf(process: keyof typeof READ, environment: Record<string, string>): string[] {
  try {
    loadConfig(READ[process], environment);
  } catch (error) {
    if (error instanceof ConfigError) return error.message.split("\n  ").slice(1);
    throw error;
  }
  return [];
}

describe("the configuration", () => {
  test("needs the two servers, and has a default for all else", () => {
    const config = loadConfig(PROCESSES.api, SERVERS);
    expect(config).toMatchObject({
      HOST: "127.0.0.1",
      PORT: 3000,
      NODE_ENV: "development",
      API_KEYS: [DEVELOPMENT_KEY],
    });
    expect(config).not.toHaveProperty("WEDGED_AFTER_MS");
  });

  test("takes an empty variable for one that is not set", () => {
    expect(loadConfig(PROCESSES.api, { ...SERVERS, PORT: "", STAGE_ATTEMPTS: "" })).toMatchObject({
      PORT: 3000,
    });
    expect(faultsOf("migrate", { DATABASE_URL: "" })).toEqual([
      "DATABASE_URL must be an address that begins with mysql://",
    ]);
  });

  describe("with secrets in files", () => {
    const folder = makeTempFolder();
    afterAll(() => rmSync(folder, { recursive: true }));
    /** Writes a file as an orchestrator mounts it. */
    const secret = (name: string, content: string) => {
      writeFileSync(join(folder, name), content);
      return join(folder, name);
    };

    test("reads each of them, without the end of its line", () => {
      const environment = {
        DATABASE_URL_FILE: secret("database", `${SERVERS.DATABASE_URL}\n`),
        REDIS_URL_FILE: secret("redis", SERVERS.REDIS_URL),
        API_KEYS_FILE: secret("keys", "first-key-0123456,second-key-654321\n"),
        SIGNING_SECRET_FILE: secret("signing", SIGNING_SECRET),
      };
      expect(loadConfig(PROCESSES.api, environment)).toMatchObject({
        ...SERVERS,
        API_KEYS: ["first-key-0123456", "second-key-654321"],
        SIGNING_SECRET: [SIGNING_SECRET],
      });
      for (const name of SECRETS) expect(Object.keys(VARIABLES)).toContain(name);
    });

    test("signs the requests of HTTP stages in production by one", async () => {
      const stages = secret("conveyor.config.json", JSON.stringify({ pipeline: [{ http: FRAUD }] }));
      const environment = { ...SERVERS, ...PROVIDERS, NODE_ENV: "production", CONVEYOR_CONFIG: stages };
      const { worker } = PROCESSES;
      await expect(configure(worker, environment)).rejects.toThrow(/SIGNING_SECRET must be set/);
      const SIGNING_SECRET_FILE = secret("empty", "\n");
      await expect(configure(worker, { ...environment, SIGNING_SECRET_FILE })).rejects.toThrow(
        /SIGNING_SECRET must be set/,
      );
      try {
        const read = await configure(worker, {
          ...environment,
          SIGNING_SECRET_FILE: secret("signing", SIGNING_SECRET),
        });
        expect(read.SIGNING_SECRET).toEqual([SIGNING_SECRET]);
      } finally {
        usePipeline(PIPELINE);
      }
    });

    test("refuses one that is not there, is empty, or is set twice", () => {
      const missing = join(folder, "missing");
      expect(faultsOf("worker", { REDIS_URL: SERVERS.REDIS_URL, DATABASE_URL_FILE: missing })).toEqual([
        `DATABASE_URL_FILE can't be read: Error: ENOENT: no such file or directory, open '${missing}'`,
        "DATABASE_URL must be an address that begins with mysql://",
      ]);
      expect(faultsOf("api", { ...SERVERS, API_KEYS_FILE: secret("empty", "\n") })).toEqual([
        "API_KEYS must be keys of at least 16 printable characters, separated by commas",
      ]);
      const REDIS_URL_FILE = secret("redis", SERVERS.REDIS_URL);
      expect(faultsOf("worker", { ...SERVERS, REDIS_URL_FILE })).toEqual([
        "REDIS_URL and REDIS_URL_FILE must not both be set",
      ]);
    });
  });

  test("tells every fault at once, by name and with what would be right", () => {
    const wrong = { REDIS_URL: "localhost", PORT: "70000", LOG_LEVEL: "loud", NODE_ENV: "production" };
    expect(faultsOf("api", wrong).toSorted()).toEqual([
      "API_KEYS must be set to keys of your own when NODE_ENV is production",
      PROVIDERS_MISSING[1],
      "DATABASE_URL must be an address that begins with mysql://",
      "LOG_LEVEL must be one of trace, debug, info, warn, error, fatal, silent",
      PROVIDERS_MISSING[0],
      "PORT must be a whole number from 0 to 65535",
      `REDIS_URL ${REDIS_SCHEMES}`,
    ]);
  });

  test.each(["abc", "-1", "1.5", "1e3", "0x10", " 80", "65536", "99999999999999999999"])(
    "refuses the port %p",
    (port) => {
      expect(faultsOf("api", { ...SERVERS, PORT: port })).toEqual([
        "PORT must be a whole number from 0 to 65535",
      ]);
    },
  );

  test("refuses a limit for transactions that a wait for a lock would exceed", () => {
    expect(faultsOf("api", { ...SERVERS, DATABASE_TIMEOUT_MS: "1000" })).toEqual([
      "DATABASE_TIMEOUT_MS must be a whole number from 1200 to 60000",
    ]);
    expect(faultsOf("api", { ...SERVERS, DATABASE_TIMEOUT_MS: "1200" })).toEqual([]);
  });

  test("reads durations with their unit", () => {
    const deadline = (PAYMENT_DEADLINE: string) =>
      loadConfig(PROCESSES.worker, { ...SERVERS, PAYMENT_DEADLINE }).PAYMENT_DEADLINE;
    expect(deadline("30s")).toBe(30_000);
    expect(deadline("365d")).toBe(31_536_000_000);
    // Then the stage's own stands, which docs/configuration.md tells as well.
    expect(deadline("")).toBeUndefined();
    expect(VARIABLES.PAYMENT_DEADLINE.meta()?.["unset"]).toBe("`24h`");
    expect(pay.settings?.deadline).toBe(parseDuration("24h"));
  });

  test.each(["24", "0s", "366d", "1h30m", "a day", "-1h"])("refuses the duration %p", (PAYMENT_DEADLINE) => {
    expect(faultsOf("worker", { ...SERVERS, PAYMENT_DEADLINE })).toEqual([
      "PAYMENT_DEADLINE must be a duration such as 30s, 90m, 24h or 2d, from 1s to 365d",
    ]);
  });

  test("reads where the API is reached, with or without a slash at the end", () => {
    const read = (PUBLIC_URL: string) => loadConfig(PROCESSES.api, { ...SERVERS, PUBLIC_URL }).PUBLIC_URL;
    expect(read("https://ops.example.com")).toBe("https://ops.example.com");
    expect(read("https://ops.example.com/shop/conveyor/")).toBe("https://ops.example.com/shop/conveyor");
    for (const PUBLIC_URL of [
      "ops.example.com",
      "https://user@ops.example.com",
      "https://ops.example.com/?a=b",
      "https://ops.example.com/a%20b",
      "https://ops.example.com/#a",
      "https://ops.example.com//a",
      "https://ops.example.com/a//b",
    ])
      expect(faultsOf("api", { ...SERVERS, PUBLIC_URL })).toHaveLength(1);
  });

  test("refuses an address whose path could be one of the API's own", () => {
    const faultsAt = (path: string) =>
      faultsOf("api", { ...SERVERS, PUBLIC_URL: `https://shop.example${path}` });
    const paths = [...API, ...PAGES].map((each) => (isRoute(each) ? each.path : each.mount));
    expect(paths).toEqual(expect.arrayContaining(["/orders", "/console", "/queues", "/openapi.json"]));
    for (const path of paths) {
      const [, name = ""] = path.split("/");
      const fault = `PUBLIC_URL must not have a path that begins with /${name}, as paths of the API do; use another name, such as https://shop.example/conveyor`;
      for (const given of [`/${name}`, `/${name}/`, `/${name}/shop`])
        expect(faultsAt(given)).toEqual([fault]);
    }
    for (const path of ["", "/", "/shop/orders", "/orders-of-ours", "/Orders"])
      expect(faultsAt(path)).toEqual([]);
    // Together with every other fault.
    expect(faultsOf("api", { ...SERVERS, PUBLIC_URL: "https://shop.example/stock", PORT: "x" })).toHaveLength(
      2,
    );
  });

  test("reads which proxies are trusted: how many, or where they are", () => {
    const read = (TRUST_PROXY: string) => loadConfig(PROCESSES.api, { ...SERVERS, TRUST_PROXY }).TRUST_PROXY;
    expect(read("2")).toBe(2);
    expect(read("loopback, 10.0.0.0/8,fd00::1")).toEqual(["loopback", "10.0.0.0/8", "fd00::1"]);
    for (const TRUST_PROXY of ["true", "0", "10.0.0.0/99", "proxy.example", "loopback,"])
      expect(faultsOf("api", { ...SERVERS, TRUST_PROXY })).toEqual([
        expect.stringMatching(/^TRUST_PROXY must be the number of proxies/),
      ]);
  });

  test("refuses a well-known key where others can reach the API", () => {
    const fault = "API_KEYS must be set to keys of your own when HOST is an address that others can reach";
    for (const HOST of ["0.0.0.0", "::", "192.168.1.7", "shop.example", "127.0.0.1.example"])
      expect(faultsOf("api", { ...SERVERS, HOST })).toEqual([fault]);
    expect(faultsOf("api", { ...SERVERS, HOST: "0.0.0.0", API_KEYS: "changemechangeme" })).toEqual([fault]);
    for (const HOST of ["127.0.0.1", "127.1.2.3", "localhost", "::1"])
      expect(faultsOf("api", { ...SERVERS, HOST })).toEqual([]);
    expect(faultsOf("api", { ...SERVERS, HOST: "0.0.0.0", API_KEYS: "a-key-of-our-own-0123" })).toEqual([]);
    // A worker has no key.
    expect(faultsOf("worker", { ...SERVERS, HOST: "0.0.0.0" })).toEqual([]);
  });

  test("reads keys separated by commas", () => {
    const API_KEYS = "first-key-0123456, second-key-654321";
    expect(loadConfig(PROCESSES.api, { ...SERVERS, API_KEYS }).API_KEYS).toEqual([
      "first-key-0123456",
      "second-key-654321",
    ]);
  });

  test.each(["short", "first-key-0123456,short", "first-key-0123456,", "key with spaces inside"])(
    "refuses the keys %p",
    (API_KEYS) => {
      expect(faultsOf("api", { ...SERVERS, API_KEYS })).toEqual([
        "API_KEYS must be keys of at least 16 printable characters, separated by commas",
      ]);
    },
  );

  test.each([{}, { API_KEYS: DEVELOPMENT_KEY }, { API_KEYS: `my-own-key-0123456,${DEVELOPMENT_KEY}` }])(
    "refuses production with a well-known key or none: %p",
    (keys) => {
      expect(faultsOf("api", { ...SERVERS, ...PROVIDERS, NODE_ENV: "production", ...keys })).toEqual([
        "API_KEYS must be set to keys of your own when NODE_ENV is production",
      ]);
    },
  );

  test("lets production start with a key and providers of its own", () => {
    const production = { ...SERVERS, ...PROVIDERS, NODE_ENV: "production" };
    expect(faultsOf("api", { ...production, API_KEYS: "my-own-key-0123456" })).toEqual([]);
    expect(faultsOf("worker", production)).toEqual([]);
  });

  test.each(["api", "worker"] as const)("refuses production without providers: %s", (process) => {
    const production = { ...SERVERS, NODE_ENV: "production", API_KEYS: "my-own-key-0123456" };
    expect(faultsOf(process, production)).toEqual(PROVIDERS_MISSING);
    const { PAYMENTS_URL } = PROVIDERS;
    expect(faultsOf(process, { ...production, PAYMENTS_URL })).toEqual(PROVIDERS_MISSING.slice(1));
    expect(faultsOf(process, { ...production, PROVIDERS_MODULE: "/srv/providers.js" })).toEqual([]);
    expect(faultsOf(process, { ...production, NODE_ENV: "development" })).toEqual([]);
    expect(faultsOf(process, { ...production, ...PROVIDERS, PAYMENTS_URL: "stripe" })).toEqual([
      "PAYMENTS_URL must be an address that begins with http:// or https://",
    ]);
  });

  test.each(["https://adapter.example/payments?shop=1", "http://127.0.0.1:8080"])(
    "takes the address %p for a provider's",
    (PAYMENTS_URL) => {
      expect(loadConfig(PROCESSES.worker, { ...SERVERS, PAYMENTS_URL })).toMatchObject({ PAYMENTS_URL });
    },
  );

  const WITHOUT_MORE = "PAYMENTS_URL must be an address without user and password";
  test.each([
    ["adapter:8080", "PAYMENTS_URL must be an address that begins with http:// or https://"],
    ["nonsense", "PAYMENTS_URL must be an address that begins with http:// or https://"],
    ["http://user:password@adapter", WITHOUT_MORE],
    ["https://user@adapter", WITHOUT_MORE],
  ])("refuses the address %p for a provider's", (PAYMENTS_URL, fault) => {
    expect(faultsOf("worker", { ...SERVERS, PAYMENTS_URL })).toEqual([fault]);
  });

  test.each([
    "redis://host",
    "redis://host/",
    "redis://host:6379/0",
    "rediss://:p%40ss@host/15?family=6",
    "redis://[::1]:1/3",
    "redis://shop:p%40ss@host:6379",
    "redis+sentinel://one:26379,two:26379,[::1]:3/mymaster",
    "rediss+sentinel://shop:secret@one,two/my-master/3?family=4&sentinelUsername=a&sentinelPassword=b",
    "redis+cluster://one:6379,two:6379",
    "rediss+cluster://shop:secret@one/0",
    "unix:///run/redis.sock",
    "unix://shop:secret@/run/redis.sock?db=3",
  ])("takes the address %p for a Redis'", (REDIS_URL) => {
    expect(loadConfig(PROCESSES.worker, { ...SERVERS, REDIS_URL })).toMatchObject({ REDIS_URL });
  });

  const HASH = "must not contain #; in a password it is written as %23";
  const INDEX = "must have a database index, a whole number, as its path, or none: redis://host:6379/0";
  const SEVERAL =
    "names several hosts: write redis+sentinel://host1:26379,host2:26379/mymaster for Sentinels, " +
    "redis+cluster://host1:6379,host2:6379 for a cluster";
  const MASTER =
    "must name the master, as the Sentinels know it, as its path: " +
    "redis+sentinel://host1:26379,host2:26379/mymaster";
  const ONLY_ZERO =
    "must have no database index, since a cluster has only database 0: redis+cluster://host1:6379,host2:6379";
  const QUERY =
    "must have no query except family=4 or family=6; the database goes in the path, as in redis://host:6379/0";
  test.each([
    ["redis://host/-1", INDEX],
    ["redis://user:50%off@host/0", "must have a % in its user name or password written as %25"],
    ["redis://host/abc", INDEX],
    ["redis://host/1.5", INDEX],
    ["redis://host/01", INDEX],
    ["redis://host/1/2", INDEX],
    ["redis://host/%31", INDEX],
    ["redis://host/9999999", INDEX],
    ["redis://host?db=3", QUERY],
    ["redis://host/0?keyPrefix=x", QUERY],
    ["redis://host/0?family=x", QUERY],
    ["redis://host/0#1", HASH],
    ["redis://:pa#ss@host/0", HASH],
    ["redis://one,two/0", SEVERAL],
    ["redis://one:6379,two:6379/0", SEVERAL],
    ["redis+cluster://one:6379,two:6379/3", ONLY_ZERO],
    [
      "redis+cluster://one:port",
      "must name hosts, each with its port, such as redis+cluster://host1:6379,host2:6379",
    ],
    [
      "redis+cluster://one,,two",
      "must name hosts, each with its port, such as redis+cluster://host1:6379,host2:6379",
    ],
    ["redis+cluster://one?db=0", "must have no query except family=4 or family=6"],
    ["redis+sentinel://one:26379", MASTER],
    ["redis+sentinel://one:26379/", MASTER],
    ["redis+sentinel://one:26379/my%20master", MASTER],
    [
      "redis+sentinel://one/mymaster/x",
      "must have a database index, a whole number, after the master's name, or none: " +
        "redis+sentinel://host1:26379,host2:26379/mymaster/0",
    ],
    [
      "redis+sentinel://one/mymaster?sentinel=x",
      "must have no query except sentinelUsername, sentinelPassword, family=4 or family=6",
    ],
    ["redis+sentinels://one/mymaster", REDIS_SCHEMES],
    ["unix://run/redis.sock", "must name a socket by its path, such as unix:///run/redis/redis.sock"],
    [
      "unix:///run/redis.sock/?db=x",
      "must have no query except a database index: unix:///run/redis/redis.sock?db=0",
    ],
    ["redis://host:0/0", "must have a port from 1 to 65535"],
    ["redis:///0", "must name one host, such as redis://:password@host:6379/0, and names none"],
  ])("refuses the address %p for a Redis'", (REDIS_URL, fault) => {
    for (const kind of ["api", "worker"] as const)
      expect(faultsOf(kind, { ...SERVERS, REDIS_URL })).toEqual([`REDIS_URL ${fault}`]);
  });

  test("refuses a prefix that can't be one, and takes conveyor for none", () => {
    for (const REDIS_PREFIX of ["a b", "a:b", "{a}", "ü", "x".repeat(65)])
      expect(faultsOf("worker", { ...SERVERS, REDIS_PREFIX })).toEqual([
        "REDIS_PREFIX must be 1 to 64 letters, digits, - and _",
      ]);
    expect(loadConfig(PROCESSES.api, { ...SERVERS, REDIS_PREFIX: "" }).REDIS_PREFIX).toBe("conveyor");
  });

  const DATABASE = { DATABASE_URL: SERVERS.DATABASE_URL };
  test("needs a Redis, unless orders are processed without queues", () => {
    const config = loadConfig(PROCESSES.api, { ...DATABASE, PROCESSING: "sync" });
    expect(hasQueues(config)).toBe(false);
    expect(hasQueues(loadConfig(PROCESSES.api, { ...SERVERS, PROCESSING: "sync" }))).toBe(false);
    expect(hasQueues(loadConfig(PROCESSES.api, SERVERS))).toBe(true);
    expect(faultsOf("worker", { ...DATABASE, PROCESSING: "sync" })).toEqual([`REDIS_URL ${REDIS_SCHEMES}`]);
  });

  test.each<[string, Record<string, string>, string[]]>([
    ["no Redis", DATABASE, ["REDIS_URL must be set, unless PROCESSING is sync"]],
    [
      "no Redis and another fault",
      { ...DATABASE, PORT: "x" },
      ["PORT must be a whole number from 0 to 65535", "REDIS_URL must be set, unless PROCESSING is sync"],
    ],
    [
      "a Redis that is none",
      { ...DATABASE, PROCESSING: "sync", REDIS_URL: "localhost" },
      [`REDIS_URL ${REDIS_SCHEMES}`],
    ],
    [
      "another way of processing",
      { ...DATABASE, PROCESSING: "async" },
      ["PROCESSING must be one of queue, sync"],
    ],
  ])("refuses an API with %s", (_, environment, faults) => {
    expect(faultsOf("api", environment)).toEqual(faults);
  });

  test("overrides of stages are only what was set", () => {
    expect(stageOverrides(loadConfig(PROCESSES.worker, SERVERS))).toEqual({});
    const set = { ...SERVERS, STAGE_ATTEMPTS: "2", STAGE_BACKOFF_MS: "10", STAGE_TIMEOUT_MS: "500" };
    expect(stageOverrides(loadConfig(PROCESSES.worker, set))).toEqual({
      attempts: 2,
      backoff: { delay: 10, jitter: 0.5 },
      timeout: 500,
    });
  });
});
