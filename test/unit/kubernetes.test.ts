import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import path from "node:path";
import { afterAll, describe, expect, jest, test } from "@jest/globals";
import { parseAllDocuments } from "yaml";
import { z } from "zod";
import { healthRoutes } from "../../src/api/health.ts";
import { loadConfig, PROCESSES, SECRETS } from "../../src/composition/config.ts";
import { VARIABLES } from "../../src/composition/variables.ts";
import { lifecycle } from "../../src/order/lifecycle.ts";
import { MetricsServer } from "../../src/platform/metrics-server.ts";
import { makeTempFolder } from "../../tools/launcher/temp-folder.ts";

/*
 * What stands in deploy/kubernetes: rendered as `kubectl apply -k` would, validated against the published schemas, and held
 * against the processes that it runs. No cluster is needed.
 */

jest.setTimeout(180_000);

const ROOT = path.resolve(import.meta.dirname, "../..");
const FOLDER = path.join(ROOT, "deploy/kubernetes");
/** After the shutdown's own deadline a process may take so much longer to close what is open. */
const LAST_MOMENT_S = 5;
const SECRETS_FOLDER = "/run/secrets/conveyor";

const canRender = spawnSync("kubectl", ["kustomize", "--help"]).status === 0;
if (!canRender)
  process.stderr.write(
    "There is no kubectl on this machine: the overlays of deploy/kubernetes are not rendered.\n",
  );

const labels = z.record(z.string(), z.string());
const selector = z.object({ matchLabels: labels });
const probe = z.object({ httpGet: z.object({ path: z.string(), port: z.string() }) });
const container = z.object({
  name: z.string(),
  image: z.string(),
  command: z.array(z.string()),
  args: z.array(z.string()).default([]),
  env: z.array(z.object({ name: z.string(), value: z.string() })).default([]),
  envFrom: z.array(z.object({ configMapRef: z.object({ name: z.string() }) })).default([]),
  ports: z.array(z.object({ name: z.string(), containerPort: z.number() })).default([]),
  startupProbe: probe.optional(),
  readinessProbe: probe.optional(),
  livenessProbe: probe.optional(),
  securityContext: z.unknown(),
  volumeMounts: z.array(z.object({ name: z.string(), mountPath: z.string() })),
});
const pod = z.object({
  metadata: z.object({ labels }),
  spec: z.object({
    automountServiceAccountToken: z.boolean(),
    containers: z.tuple([container]),
    securityContext: z.unknown(),
    terminationGracePeriodSeconds: z.number().optional(),
    volumes: z.array(z.looseObject({ name: z.string() })),
  }),
});
const workload = z.object({ metadata: z.object({ name: z.string() }), spec: z.object({ template: pod }) });
const scaledObject = z.object({
  metadata: z.object({ name: z.string() }),
  spec: z.object({
    scaleTargetRef: z.object({ name: z.string() }),
    minReplicaCount: z.number(),
    triggers: z.array(z.object({ metadata: z.object({ query: z.string() }) })),
  }),
});

type Manifest = z.infer<typeof manifest>;
const manifest = z.looseObject({
  apiVersion: z.string(),
  kind: z.string(),
  metadata: z.looseObject({ name: z.string(), namespace: z.string().optional() }),
});

function manifestsIn(text: string): Manifest[] {
  return parseAllDocuments(text).map((document) => manifest.parse(document.toJS()));
}

function render(overlay: string): Manifest[] {
  const args = ["kustomize", path.join(FOLDER, "overlays", overlay)];
  return manifestsIn(execFileSync("kubectl", args, { encoding: "utf8" }));
}

/** Every manifest as it is written, which is what can be checked without kubectl. */
function written(): Manifest[] {
  return ["base", "worker", "components/keda", "components/prometheus"]
    .flatMap((part) => readdirSync(path.join(FOLDER, part)).map((name) => path.join(FOLDER, part, name)))
    .filter((file) => /(?<!kustomization|names)\.yaml$/.test(file))
    .flatMap((file) => manifestsIn(readFileSync(file, "utf8")));
}

/** Where the schema of a kind, and its type, are published. */
function moduleOf({ apiVersion, kind }: Manifest): string {
  if (apiVersion.startsWith("keda.sh/")) return `@kubernetes-models/keda/${apiVersion}/${kind}`;
  if (apiVersion.startsWith("monitoring.coreos.com/"))
    return `@kubernetes-models/prometheus-operator/${apiVersion}/${kind}`;
  return `kubernetes-models/${apiVersion}/${kind}`;
}

const folder = makeTempFolder();
afterAll(() => rmSync(folder, { recursive: true }));

/** What TypeScript says of fields that the published types don't have: the schemas let unknown ones pass. */
function strangeFields(manifests: readonly Manifest[]): string {
  const file = path.join(folder, "manifests.ts");
  if (!existsSync(path.join(folder, "node_modules")))
    symlinkSync(path.join(ROOT, "node_modules"), path.join(folder, "node_modules"));
  const lines = manifests.map((each, index) => {
    const type = `import("${moduleOf(each)}").I${each.kind}`;
    return `export const m${index}: ${type} = ${JSON.stringify(each)};`;
  });
  writeFileSync(file, lines.join("\n"));
  const options = [
    "--ignoreConfig",
    "--noEmit",
    "--strict",
    "--skipLibCheck",
    "--types",
    "",
    "--module",
    "preserve",
  ];
  const tsc = path.join(ROOT, "node_modules/.bin/tsc");
  const { stdout, stderr } = spawnSync(tsc, [...options, file], { encoding: "utf8" });
  return stdout + stderr;
}

const SETS = canRender ? ["production", "stages", "as written"] : ["as written"];

describe.each(SETS)("the Kubernetes manifests: %s", (set) => {
  const manifests = set === "as written" ? written() : render(set);

  test("are valid by the published schemas", async () => {
    expect(manifests.length).toBeGreaterThan(8);
    for (const each of manifests) {
      const { [each.kind]: Model } = await import(moduleOf(each));
      const { kind, metadata } = each;
      expect([kind, metadata.name, faultOf(() => new Model(each).validate())]).toEqual([
        kind,
        metadata.name,
        "",
      ]);
    }
  });

  test("have no field that Kubernetes, KEDA or the Prometheus operator doesn't know", () => {
    expect(strangeFields(manifests)).toBe("");
    const first = z
      .looseObject({ spec: z.looseObject({}) })
      .parse(manifests.find(({ kind }) => kind === "Deployment"));
    expect(strangeFields([manifest.parse({ ...first, spec: { ...first.spec, replica: 2 } })])).toMatch(
      /replica/,
    );
  });
});

function faultOf(validate: () => unknown): string {
  try {
    validate();
    return "";
  } catch (error) {
    return String(error);
  }
}

(canRender ? describe : describe.skip).each(["production", "stages"])("the overlay %s", (overlay) => {
  const manifests = canRender ? render(overlay) : [];
  const of = <T>(kind: string, schema: z.ZodType<T>) =>
    manifests.filter((each) => each.kind === kind).map((each) => schema.parse(each));
  const deployments = of("Deployment", workload);
  const workers = deployments.filter(({ metadata }) => metadata.name.startsWith("worker"));
  const api = deployments.find(({ metadata }) => metadata.name === "api");
  const all = [...deployments, ...of("Job", workload)];
  const containersOf = ({ spec }: (typeof all)[number]) => spec.template.spec.containers[0];
  const [config] = of("ConfigMap", z.object({ metadata: z.object({ name: z.string() }), data: labels }));

  /** The environment of a container, with secrets in files of this machine. */
  function environmentOf({ env, envFrom }: z.infer<typeof container>): Record<string, string> {
    for (const { configMapRef } of envFrom) expect(configMapRef.name).toBe(config?.metadata.name);
    const own = Object.fromEntries(env.map(({ name, value }) => [name, value]));
    return { NODE_ENV: "production", ...(envFrom.length > 0 ? config?.data : {}), ...own };
  }

  const SECRET_VALUES: Readonly<Record<string, string>> = {
    DATABASE_URL: "mysql://u:p@mysql/conveyor",
    REDIS_URL: "redis://:p@redis",
    API_KEYS: "a-key-of-our-own-0123",
    STRIPE_SECRET_KEY: "sk_live_0123",
    STRIPE_WEBHOOK_SECRET: "whsec_0123",
  };

  /** The same, with its secrets in files of this machine. */
  function withSecrets(environment: Record<string, string>): Record<string, string> {
    return Object.fromEntries(
      Object.entries(environment).map(([name, value]) => {
        if (!name.endsWith("_FILE")) return [name, value];
        expect(path.posix.dirname(value)).toBe(SECRETS_FOLDER);
        const file = path.join(folder, path.posix.basename(value));
        writeFileSync(file, `${SECRET_VALUES[name.slice(0, -"_FILE".length)]}\n`);
        return [name, file];
      }),
    );
  }

  test("is in one namespace, and has the processes in one image of a certain version", () => {
    for (const { kind, metadata } of manifests)
      if (kind !== "Namespace")
        expect([metadata.name, metadata.namespace]).toEqual([metadata.name, "conveyor"]);
    expect(new Set(all.map((each) => containersOf(each).image)).size).toBe(1);
    for (const each of all) expect(containersOf(each).image).toMatch(/:\d+\.\d+\.\d+$/);
    expect(api).toBeDefined();
  });

  test("sets variables that there are, to values that the processes take", () => {
    const known = [...Object.keys(VARIABLES), ...SECRETS.map((name) => `${name}_FILE`)];
    for (const each of all)
      expect(known).toEqual(expect.arrayContaining(Object.keys(environmentOf(containersOf(each)))));
    expect(loadConfig(PROCESSES.api, withSecrets(environmentOf(containersOf(api!)))).HOST).toBe("0.0.0.0");
    for (const each of workers)
      expect(loadConfig(PROCESSES.worker, withSecrets(environmentOf(containersOf(each)))).METRICS_PORT).toBe(
        9464,
      );
    for (const each of of("Job", workload))
      loadConfig(PROCESSES.migrate, withSecrets(environmentOf(containersOf(each))));
  });

  test("mounts the secrets and a configuration file where the processes look", () => {
    for (const each of all) {
      const mounts = containersOf(each).volumeMounts.map(({ name, mountPath }) => [name, mountPath]);
      // The configuration's folder is that of the compose file.
      expect(mounts).toEqual([
        ["secrets", SECRETS_FOLDER],
        ["config", "/app/config"],
      ]);
      expect(each.spec.template.spec.volumes.map(({ name }) => name)).toEqual(["secrets", "config"]);
    }
  });

  test("probes paths that answer, on ports that are open", async () => {
    const server = new MetricsServer({ text: async () => "", contentType: "" }, () => true, {
      warn: () => undefined,
    });
    const { origin } = new URL(await server.listen(0, "127.0.0.1"));
    try {
      for (const each of deployments) {
        const { ports, startupProbe, readinessProbe, livenessProbe } = containersOf(each);
        const { PORT, METRICS_PORT } = loadConfig(
          PROCESSES.api,
          withSecrets(environmentOf(containersOf(api!))),
        );
        for (const { name, containerPort } of ports)
          expect([name, containerPort]).toEqual([name, { http: PORT, metrics: METRICS_PORT }[name]]);
        expect(readinessProbe?.httpGet.path).toBe("/health/accepting");
        for (const { httpGet } of [startupProbe!, readinessProbe!, livenessProbe!]) {
          expect(ports.map(({ name }) => name)).toContain(httpGet.port);
          if (httpGet.port === "http")
            expect(healthRoutes.map((route) => route.path)).toContain(httpGet.path);
          else expect((await fetch(origin + httpGet.path)).status).toBe(200);
        }
      }
    } finally {
      await server.close();
    }
  });

  test("gives the processes more time to stop than they take", () => {
    const { SHUTDOWN_DELAY_MS: delay, SHUTDOWN_TIMEOUT_MS: work } = config!.data;
    for (const each of deployments) {
      const takes = ((each === api ? Number(delay) : 0) + Number(work)) / 1_000;
      expect(each.spec.template.spec.terminationGracePeriodSeconds).toBeGreaterThan(takes + LAST_MOMENT_S);
    }
  });

  test("gives the processes no right that they do not need", () => {
    for (const each of all) {
      expect(each.spec.template.spec).toMatchObject({
        automountServiceAccountToken: false,
        securityContext: { runAsNonRoot: true, seccompProfile: { type: "RuntimeDefault" } },
      });
      expect(containersOf(each).securityContext).toEqual({
        allowPrivilegeEscalation: false,
        readOnlyRootFilesystem: true,
        capabilities: { drop: ["ALL"] },
      });
    }
  });

  test("starts node without a shell, with scripts that the build makes", () => {
    for (const each of all) {
      const { command } = containersOf(each);
      expect(command[0]).toBe("node");
      const source = command.at(-1)?.replace(/^dist\/(.*)\.js$/, "$1.ts") ?? "";
      expect([source, existsSync(path.join(ROOT, source))]).toEqual([source, true]);
    }
  });

  test("has someone for each stage, and takes no pod for another's", () => {
    const stages = workers.map((each) => containersOf(each).args.join(" "));
    const names = lifecycle.steps.map(({ name }) => name);
    const everything = overlay === "stages" ? names.map((name) => `--stages ${name}`) : [""];
    expect(stages.toSorted()).toEqual(everything.toSorted());

    const pods = all.map(({ spec }) => spec.template.metadata.labels);
    const chosenBy = (wanted: Record<string, string>) =>
      pods.filter((each) => Object.entries(wanted).every(([name, value]) => each[name] === value)).length;
    const selecting = z.object({ metadata: z.object({ name: z.string() }), spec: z.object({ selector }) });
    for (const each of [...of("Deployment", selecting), ...of("PodDisruptionBudget", selecting)])
      expect([each.metadata.name, chosenBy(each.spec.selector.matchLabels)]).toEqual([each.metadata.name, 1]);
    const service = z.object({ spec: z.object({ selector: labels }) });
    for (const each of of("Service", service)) expect(chosenBy(each.spec.selector)).toBe(1);
    expect(of("PodDisruptionBudget", selecting)).toHaveLength(deployments.length);
  });

  test("has Prometheus ask every process", () => {
    const service = z.object({
      metadata: z.object({ labels }),
      spec: z.object({ ports: z.array(z.object({ name: z.string() })) }),
    });
    const monitor = z.object({
      spec: z.object({ selector, endpoints: z.array(z.object({ port: z.string() })) }),
    });
    const [asks] = of("ServiceMonitor", monitor);
    const services = of("Service", service);
    expect(services).toHaveLength(deployments.length);
    for (const each of services) {
      expect(each.metadata.labels).toMatchObject(asks!.spec.selector.matchLabels);
      expect(each.spec.ports.map(({ name }) => name)).toContain(asks?.spec.endpoints[0]?.port);
    }
  });

  test("scales each kind of worker, by metrics that there are, and never to none", () => {
    const scaled = of("ScaledObject", scaledObject);
    expect(scaled.map(({ spec }) => spec.scaleTargetRef.name).toSorted()).toEqual(
      workers.map(({ metadata }) => metadata.name).toSorted(),
    );
    // Generated from the code.
    const told = readFileSync(path.join(ROOT, "docs/observability.md"), "utf8");
    for (const { spec, metadata } of scaled) {
      expect(spec.minReplicaCount).toBeGreaterThan(0);
      // KEDA says how many there are, and nobody else.
      const target = manifests.find(
        ({ kind, metadata: { name } }) => kind === "Deployment" && name === metadata.name,
      );
      expect(target?.["spec"]).not.toHaveProperty("replicas");
      for (const { metadata: trigger } of spec.triggers) {
        const metrics = trigger.query.match(/\bconveyor_[a-z_]+(?=[{)\s])/g) ?? [];
        expect(metrics.length).toBeGreaterThan(0);
        for (const metric of metrics) expect(told).toContain(`| \`${metric}\` |`);
        const stage = metadata.name.replace(/^worker-?/, "");
        if (stage !== "") expect(trigger.query).toContain(`stage="${stage}"`);
      }
    }
  });
});

test("the overlay with workers of their own has a folder for each step of the pipeline, and no other", () => {
  const entries = readdirSync(path.join(FOLDER, "overlays/stages/workers"), { withFileTypes: true });
  const folders = entries.flatMap((entry) => (entry.isDirectory() ? [entry.name] : []));
  expect(folders.toSorted()).toEqual(lifecycle.steps.map(({ name }) => name).toSorted());
});

test("the workflow that publishes the image is valid, and says that it has never run", () => {
  const text = readFileSync(path.join(ROOT, ".github/workflows/publish.yml"), "utf8");
  expect(text).toMatch(/has never\n# run/);
  const step = z.strictObject({
    id: z.string().optional(),
    uses: z.string().regex(/^[\w-]+\/[\w-]+@v\d+$/),
    with: z.record(z.string(), z.union([z.string(), z.boolean()])).optional(),
  });
  const workflow = z.strictObject({
    name: z.string(),
    on: z.strictObject({ push: z.strictObject({ tags: z.array(z.string()) }) }),
    permissions: labels,
    jobs: z.strictObject({
      publish: z.strictObject({
        "runs-on": z.string(),
        "timeout-minutes": z.number(),
        permissions: labels,
        steps: z.array(step),
      }),
    }),
  });
  const { jobs } = workflow.parse(parseAllDocuments(text)[0]?.toJS());
  const ids = jobs.publish.steps.flatMap(({ id }) => id ?? []);
  for (const [, id] of text.matchAll(/steps\.(\w+)\./g)) expect(ids).toContain(id);
});
