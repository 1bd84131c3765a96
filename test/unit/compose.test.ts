import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, test } from "@jest/globals";
import { parse } from "yaml";
import { z } from "zod";
import { PROCESSES } from "../../src/composition/config.ts";
import { SIMULATED, VARIABLES } from "../../src/composition/variables.ts";

/*
 * What the compose file and the Dockerfile must not lose. That they are well-formed is checked by
 * `npm run compose:check`; that what they build does its work, by test/integration/build.test.ts.
 */

const ROOT = path.resolve(import.meta.dirname, "../..");
/** After the shutdown's own deadline a process may take so much longer to close what is open. */
const LAST_MOMENT_S = 5;

const service = z.object({
  build: z.string().optional(),
  cap_drop: z.array(z.string()).optional(),
  command: z.array(z.string()).optional(),
  container_name: z.string().optional(),
  depends_on: z.record(z.string(), z.object({ condition: z.string() })).optional(),
  environment: z.record(z.string(), z.string().nullable()).optional(),
  healthcheck: z.object({ test: z.union([z.string(), z.array(z.string())]) }).optional(),
  image: z.string().optional(),
  ports: z.array(z.string()).optional(),
  profiles: z.array(z.string()).optional(),
  read_only: z.boolean().optional(),
  restart: z.string(),
  stop_grace_period: z.string().optional(),
  volumes: z.array(z.string()).optional(),
});
const text = read("docker-compose.yml");
const { services, volumes } = z
  .object({ services: z.record(z.string(), service), volumes: z.record(z.string(), z.null()) })
  .parse(parse(text, { merge: true }));
const { mysql, redis, migrate, simulators, api, worker } = services;

function read(name: string): string {
  return readFileSync(path.join(ROOT, name), "utf8");
}

describe("the compose file", () => {
  test("has the servers and the processes", () => {
    const always = Object.entries(services).filter(([, { profiles }]) => profiles === undefined);
    expect(always.map(([name]) => name)).toEqual([
      "mysql",
      "redis",
      "migrate",
      "simulators",
      "api",
      "worker",
    ]);
    expect(mysql?.image).toBe("mysql:8.4");
    expect(redis?.image).toMatch(/^redis:\d/);
  });

  test("has Redis keep what it is told, and evict nothing", () => {
    const options = redis?.command?.join(" ") ?? "";
    expect(options).toContain("--appendonly yes");
    expect(options).toContain("--maxmemory-policy noeviction");
    expect(options).toContain("--requirepass ${REDIS_PASSWORD");
  });

  test.each([
    ["mysql", mysql, "/var/lib/mysql"],
    ["redis", redis, "/data"],
    ["the simulated providers", simulators, "/app/data"],
  ])("keeps the data of %s in a named volume", (_name, server, folder) => {
    expect(server?.volumes).toHaveLength(1);
    const [volume, target] = server?.volumes?.[0]?.split(":") ?? [];
    expect(target).toBe(folder);
    expect(Object.keys(volumes)).toContain(volume);
  });

  test("mounts a folder with a configuration, to read only", () => {
    for (const each of [migrate, api, worker])
      // Where the processes look: beside what the image runs.
      expect(each?.volumes).toEqual(["${CONFIG_FOLDER:-./config}:/app/config:ro"]);
  });

  test("checks the health of all that stays, and starts it again", () => {
    const { migrate: once, ...staying } = services;
    for (const each of Object.values(staying)) {
      expect(each.healthcheck).toBeDefined();
      expect(each.restart).toBe("unless-stopped");
    }
    expect(once?.restart).toBe("no");
  });

  test("migrates before the processes start, once MySQL is healthy", () => {
    expect(migrate?.depends_on?.["mysql"]?.condition).toBe("service_healthy");
    for (const each of [api, worker])
      expect(each?.depends_on?.["migrate"]?.condition).toBe("service_completed_successfully");
  });

  test("shows nothing but the API, and what one asks for to watch it, to this machine only", () => {
    const shown = Object.entries(services).filter(([, { ports }]) => ports !== undefined);
    expect(shown.map(([name, { ports, profiles = [] }]) => [name, ports, profiles])).toEqual([
      ["api", ["127.0.0.1:${PORT:-3000}:3000"], []],
      ["prometheus", ["127.0.0.1:${PROMETHEUS_PORT:-9090}:9090"], ["observability"]],
      ["grafana", ["127.0.0.1:${GRAFANA_PORT:-3001}:3000"], ["observability"]],
      ["jaeger", ["127.0.0.1:${JAEGER_PORT:-16686}:16686"], ["observability"]],
    ]);
  });

  test("has images of a certain version to watch it with, and gives them what is there", () => {
    const watching = Object.values(services).filter(({ profiles }) => profiles?.includes("observability"));
    for (const { image, cap_drop: dropped } of watching) {
      expect(image).toMatch(/:v?\d+\.\d+\.\d+$/);
      expect(dropped).toEqual(["ALL"]);
    }
    const given = watching.flatMap((each) => each.volumes ?? []).map((volume) => volume.split(":")[0] ?? "");
    const folders = given.filter((source) => source.startsWith("./"));
    expect(folders).toHaveLength(3);
    for (const source of folders) expect(existsSync(path.join(ROOT, source))).toBe(true);
  });

  test("has Prometheus ask the processes that there are, where they tell", () => {
    const jobs = z
      .object({
        scrape_configs: z.array(
          z.object({ dns_sd_configs: z.array(z.object({ names: z.array(z.string()), port: z.number() })) }),
        ),
      })
      .parse(parse(read("deploy/prometheus/prometheus.yml")))
      .scrape_configs.flatMap((job) => job.dns_sd_configs);
    expect(jobs.flatMap(({ names }) => names)).toEqual(["api", "worker"]);
    for (const { names, port } of jobs)
      expect(services[names[0] ?? ""]?.environment?.["METRICS_PORT"]).toBe(String(port));
  });

  test("has nothing that keeps workers from being many", () => {
    expect(worker?.container_name).toBeUndefined();
    expect(worker?.ports).toBeUndefined();
    // Each may read the same.
    for (const volume of worker?.volumes ?? []) expect(volume).toMatch(/:ro$/);
  });

  test.each([
    ["api", api],
    ["worker", worker],
  ])("gives the %s more time to stop than it takes", (_name, each) => {
    const { SHUTDOWN_DELAY_MS: delay = 0, SHUTDOWN_TIMEOUT_MS: work } = each?.environment ?? {};
    const timeout = (Number(delay) + Number(work)) / 1000;
    expect(Number(each?.stop_grace_period?.replace(/s$/, ""))).toBeGreaterThan(timeout + LAST_MOMENT_S);
  });

  test.each([
    ["api", api, PROCESSES.api],
    ["worker", worker, PROCESSES.worker],
  ])("lets every variable of the %s be set", (_name, each, { shape }) => {
    // The image sets NODE_ENV, for good.
    const settable = [...Object.keys(each?.environment ?? {}), "NODE_ENV"];
    expect(settable).toEqual(expect.arrayContaining(Object.keys(shape).filter((name) => name in VARIABLES)));
    // Those of OpenTelemetry are its own.
    const own = settable.filter((variable) => !variable.startsWith("OTEL_"));
    expect(Object.keys(VARIABLES)).toEqual(expect.arrayContaining(own));
  });

  test("has the processes use the simulated providers where no others are named, and these take over old books", () => {
    for (const each of [api, worker])
      expect(each?.environment).toMatchObject({
        PAYMENTS_URL: `\${PAYMENTS_URL:-${SIMULATED.PAYMENTS_URL.replace("127.0.0.1", "simulators")}}`,
        CARRIER_URL: `\${CARRIER_URL:-${SIMULATED.CARRIER_URL.replace("127.0.0.1", "simulators")}}`,
      });
    expect(simulators?.environment?.["DATABASE_URL"]).toBe(api?.environment?.["DATABASE_URL"]);
  });

  test("asks for the passwords and for nothing else, so that the servers can be started alone", () => {
    const required = [...text.matchAll(/\$\{(\w+):?\?/g)].map(([, name]) => name);
    expect(new Set(required)).toEqual(new Set(["MYSQL_PASSWORD", "REDIS_PASSWORD"]));
  });

  test("gives the processes no right that they do not need", () => {
    for (const each of [migrate, simulators, api, worker])
      expect(each).toMatchObject({ cap_drop: ["ALL"], read_only: true });
  });
});

describe("the Dockerfile", () => {
  const stages = read("Dockerfile")
    .split(/^(?=FROM )/m)
    .slice(1);
  const image = stages.at(-1) ?? "";

  test("has several stages, of which the last one builds nothing", () => {
    expect(stages.length).toBeGreaterThan(1);
    expect(image).not.toMatch(/^RUN /m);
    expect(image.match(/^COPY .*/gm)?.filter((line) => !line.includes("--from="))).toEqual([
      "COPY package.json ./",
    ]);
  });

  test("runs for production, and not as root", () => {
    expect(image).toMatch(/^ENV NODE_ENV=production /m);
    expect(image.match(/^USER .*/gm)).toEqual(["USER node"]);
    expect(image.indexOf("\nUSER")).toBeLessThan(image.indexOf("\nCMD"));
  });

  test("starts node without a shell, so that signals reach it", () => {
    expect(image).toMatch(/^CMD \["node", /m);
    for (const each of [migrate, simulators, api, worker]) expect(each?.command?.[0]).toBe("node");
  });

  test("is started with scripts that the build makes", () => {
    const { include } = z
      .object({ include: z.array(z.string()) })
      .parse(JSON.parse(read("tsconfig.build.json")));
    const scripts = [...new Set(text.match(/dist\/[\w/-]+\.js/g))];
    expect(scripts).toHaveLength(4);
    for (const script of scripts) {
      const source = script.replace(/^dist\/(.*)\.js$/, "$1.ts");
      expect(existsSync(path.join(ROOT, source))).toBe(true);
      expect(include.some((built) => source === built || source.startsWith(`${built}/`))).toBe(true);
    }
  });
});
