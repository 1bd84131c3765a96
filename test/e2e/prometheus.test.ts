import { cp, readFile, writeFile } from "node:fs/promises";
import { rmSync } from "node:fs";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, jest, test } from "@jest/globals";
import { parse, stringify } from "yaml";
import { z } from "zod";
import { freePort } from "../../tools/launcher/ports.ts";
import { makeTempFolder } from "../../tools/launcher/temp-folder.ts";
import { lifecycle } from "../../src/order/lifecycle.ts";
import { reply, startAnswering, type AnsweringServer } from "../support/answering.ts";
import { PLAIN_ORDER } from "../support/client.ts";
import { startLine, type TestLine } from "../support/line.ts";
import { scrape } from "../support/metrics.ts";
import { TEST_KEY, type TestProcess } from "../support/processes.ts";
import {
  canHavePrometheus,
  check,
  findPrometheus,
  PROMETHEUS_START_MS,
  startPrometheus,
  type PrometheusTools,
  type TestPrometheus,
} from "../support/prometheus.ts";
import { waitFor } from "../support/wait-for.ts";

jest.setTimeout(180_000);

/*
 * What stands in deploy/ for Prometheus and Grafana, beside a real API, a real worker and a real Prometheus.
 */

const DEPLOY = path.resolve(import.meta.dirname, "../../deploy");
const ALERTS = path.join(DEPLOY, "prometheus/alerts.yml");
const ALERT_TESTS = path.join(DEPLOY, "prometheus/alerts.test.yml");
const DASHBOARD = path.join(DEPLOY, "grafana/dashboards/conveyor.json");

if (!canHavePrometheus)
  process.stderr.write(
    "There is no Prometheus on this machine, nor apt to fetch it: its tests are skipped.\n",
  );
const describeWithPrometheus = canHavePrometheus ? describe : describe.skip;

const ruleFile = z.object({
  groups: z.array(z.object({ rules: z.array(z.object({ alert: z.string(), expr: z.string() })) })),
});
const alertTests = z.object({
  tests: z.array(
    z.object({
      input_series: z.array(z.object({ series: z.string() })),
      promql_expr_test: z.array(
        z.object({ exp_samples: z.array(z.object({ labels: z.string(), value: z.number() })) }),
      ),
    }),
  ),
});
const grid = z.object({ x: z.number(), y: z.number(), w: z.number(), h: z.number() });
const dashboard = z.object({
  uid: z.string(),
  annotations: z.object({ list: z.array(z.object({ expr: z.string() })) }),
  panels: z.array(
    z.object({
      id: z.number(),
      type: z.string(),
      title: z.string(),
      gridPos: grid,
      targets: z.array(z.object({ expr: z.string() })).optional(),
    }),
  ),
});

const readDashboard = async () => dashboard.parse(JSON.parse(await readFile(DASHBOARD, "utf8")));
const queries = async () =>
  (await readDashboard()).panels.flatMap(({ title, targets = [] }) =>
    targets.map(({ expr }) => [title, expr.replaceAll("$__rate_interval", "30s")] as const),
  );

/** The metrics that a text names. */
function metricsIn(text: string): string[] {
  return [...new Set(text.match(/\b(?:conveyor|process|nodejs)_[a-z0-9_]+/g))];
}

function metricsUrl(process: TestProcess): string {
  return String(process.logs().find((line) => line["metrics"] !== undefined)?.["metrics"]);
}

let line: TestLine;
const closing: AnsweringServer[] = [];
beforeAll(async () => {
  const env = { METRICS_PORT: "0", STAGE_ATTEMPTS: "2", SWEEP_INTERVAL_MS: "100" };
  line = await startLine({ env: { ...env, WEBHOOK_ALLOWED_NETWORKS: "127.0.0.0/8" } });
  await line.client.put("/stock/MUG-BLUE", { onHand: 1_000_000 });
  await endpoint(500);
});
afterAll(async () => {
  await line?.close();
  await Promise.all(closing.map((each) => each.close()));
});

/** @returns the path of a webhook endpoint that gives this answer. */
async function endpoint(status: number): Promise<string> {
  const answering = await startAnswering((response) => reply(response, status));
  closing.push(answering);
  const { body } = await line.client.post<{ id: string }>("/webhook-endpoints", { url: answering.url });
  return `/webhook-endpoints/${body.id}`;
}

/** One order that is delivered, one that is cancelled, one that is retried, and one that fails. */
async function placeSome(): Promise<void> {
  const tokens = ["tok_approved", "tok_declined", "tok_stumbles_1", "tok_stumbles_9"];
  await Promise.all(tokens.map((paymentToken) => line.client.order({ ...PLAIN_ORDER, paymentToken })));
}

describe("the alert rules and the dashboard", () => {
  test("name no metric that is not told", async () => {
    const gone = await endpoint(410);
    await placeSome();
    const wanted = metricsIn(
      [
        ...ruleFile
          .parse(parse(await readFile(ALERTS, "utf8")))
          .groups.flatMap(({ rules }) => rules.map(({ expr }) => expr)),
        ...alertTests
          .parse(parse(await readFile(ALERT_TESTS, "utf8")))
          .tests.flatMap((each) => each.input_series.map(({ series }) => series)),
        ...(await queries()).map(([, expr]) => expr),
      ].join("\n"),
    );
    expect(wanted.length).toBeGreaterThan(20);
    await waitFor("everything to be told", async () => {
      const told = await Promise.all(
        [`${line.client.url}/metrics`, metricsUrl(line.workers[0]!)].map(scrape),
      );
      const missing = wanted.filter((name) => !told.some((each) => each.names.has(name)));
      return missing.length === 0;
    });
    await line.client.request("DELETE", gone);
  });

  test("of which each alert is shown to come, and not to come", async () => {
    const alerts = ruleFile
      .parse(parse(await readFile(ALERTS, "utf8")))
      .groups.flatMap(({ rules }) => rules.map(({ alert }) => alert));
    const { tests } = alertTests.parse(parse(await readFile(ALERT_TESTS, "utf8")));
    const coming = new Set(
      tests
        .flatMap((each) => each.promql_expr_test.flatMap(({ exp_samples }) => exp_samples))
        .map(({ labels }) => /alertname="(\w+)"/.exec(labels)?.[1]),
    );
    for (const alert of alerts) expect(coming).toContain(alert);
    const quiet = tests.find((each) =>
      each.promql_expr_test.every(({ exp_samples }) => exp_samples.length === 0),
    );
    const seriesOf = (of: typeof quiet) =>
      metricsIn(of?.input_series.map(({ series }) => series).join("\n") ?? "");
    // What all is well with is everything that alerts look at.
    const looked = metricsIn(await readFile(ALERTS, "utf8"));
    expect(looked.length).toBeGreaterThan(8);
    expect(seriesOf(quiet)).toEqual(expect.arrayContaining(looked));
  });

  test("a dashboard's panels have ids of their own, and places of their own", async () => {
    const { panels } = await readDashboard();
    expect(new Set(panels.map(({ id }) => id)).size).toBe(panels.length);
    for (const { gridPos: one, title } of panels) {
      expect([title, one.x + one.w <= 24]).toEqual([title, true]);
      const over = panels.filter(
        ({ gridPos: other }) =>
          other !== one &&
          one.x < other.x + other.w &&
          other.x < one.x + one.w &&
          one.y < other.y + other.h &&
          other.y < one.y + one.h,
      );
      expect([title, over.map((each) => each.title)]).toEqual([title, []]);
    }
  });
});

describeWithPrometheus("Prometheus", () => {
  let tools: PrometheusTools;
  let folder: string;
  let prometheus: TestPrometheus;
  beforeAll(async () => {
    tools = await findPrometheus();
    folder = makeTempFolder();
    await cp(path.join(DEPLOY, "prometheus"), folder, { recursive: true });
    await cp(path.join(folder, "prometheus.yml"), path.join(folder, "as-given.yml"));
    await writeFile(path.join(folder, "prometheus.yml"), await configuration());
    prometheus = await startPrometheus(tools, {
      config: path.join(folder, "prometheus.yml"),
      folder,
      port: await freePort(),
    });
  }, PROMETHEUS_START_MS);
  afterAll(async () => {
    await prometheus?.close();
    if (folder) rmSync(folder, { recursive: true });
  });

  /** As it is given, but for where the processes are; and the API by its own port, with a key, in both ways. */
  async function configuration(): Promise<string> {
    const given = z
      .object({ global: z.looseObject({}), scrape_configs: z.array(z.looseObject({ job_name: z.string() })) })
      .loose()
      .parse(parse(await readFile(path.join(DEPLOY, "prometheus/prometheus.yml"), "utf8")));
    const places = new Map([
      ["conveyor-api", metricsUrl(line.api)],
      ["conveyor-worker", metricsUrl(line.workers[0]!)],
    ]);
    const at = (url: string) => [{ targets: [new URL(url).host] }];
    return stringify({
      ...given,
      global: { ...given.global, scrape_interval: "1s", evaluation_interval: "1s" },
      scrape_configs: [
        ...given.scrape_configs.map(({ job_name }) => ({
          job_name,
          static_configs: at(places.get(job_name) ?? ""),
        })),
        {
          job_name: "by-login",
          basic_auth: { username: "prometheus", password: TEST_KEY },
          static_configs: at(line.client.url),
        },
        {
          job_name: "by-key",
          authorization: { credentials: TEST_KEY },
          static_configs: at(line.client.url),
        },
        { job_name: "without-key", static_configs: at(line.client.url) },
      ],
    });
  }

  const query = async (expr: string) =>
    (
      await prometheus.ask<{ result: { metric: Record<string, string>; value: [number, string] }[] }>(
        `/api/v1/query?query=${encodeURIComponent(expr)}`,
      )
    ).result;

  test("takes the rules and the configuration as they are given", async () => {
    expect(await check(tools, ["check", "rules", path.join(folder, "alerts.yml")])).toContain("SUCCESS");
    expect(await check(tools, ["check", "config", path.join(folder, "as-given.yml")])).toContain("SUCCESS");
  });

  test("finds each alert to come when it must, and not when it must not", async () => {
    expect(await check(tools, ["test", "rules", path.join(folder, "alerts.test.yml")])).toContain("SUCCESS");
  });

  test("finds the tests to notice a rule that is changed", async () => {
    const file = path.join(folder, "alerts.yml");
    const given = await readFile(file, "utf8");
    try {
      await writeFile(file, given.replace('(conveyor_orders{state="failed"}) > 0', "(conveyor_orders) > 0"));
      await expect(check(tools, ["test", "rules", path.join(folder, "alerts.test.yml")])).rejects.toThrow(
        "FAILED",
      );
    } finally {
      await writeFile(file, given);
    }
  });

  test("has nothing to say against the names of the metrics", async () => {
    for (const url of [metricsUrl(line.api), metricsUrl(line.workers[0]!)]) {
      const { text } = await scrape(url);
      // prom-client's own have some that do not keep to the conventions.
      const own = text.split("\n").filter((each) => /^(# \w+ )?conveyor_/.test(each));
      expect(own.length).toBeGreaterThan(50);
      expect(await check(tools, ["check", "metrics"], `${own.join("\n")}\n`)).toBe("");
    }
  });

  test("reaches API and worker by their ports, and the API by its key, as login and as bearer", async () => {
    const up = await waitFor("all to be scraped", async () => {
      const found = await query("up");
      return found.length === 5 && found;
    });
    expect(Object.fromEntries(up.map(({ metric, value }) => [metric["job"], value[1]]))).toEqual({
      "conveyor-api": "1",
      "conveyor-worker": "1",
      "by-login": "1",
      "by-key": "1",
      "without-key": "0",
    });
  });

  test("finds something for every panel of the dashboard, and no fault in a rule", async () => {
    const panels = await queries();
    expect(panels.length).toBeGreaterThan(25);
    let empty: string[] = [];
    await waitFor("every panel to show something", async () => {
      await placeSome();
      const results = await Promise.all(
        panels.map(async ([title, expr]) => ({ title, found: await query(expr) })),
      );
      empty = results.filter(({ found }) => found.length === 0).map(({ title }) => title);
      return empty.length === 0;
    }).catch(() => undefined);
    expect(empty).toEqual([]);

    const { groups } = await prometheus.ask<{ groups: { rules: { name: string; health: string }[] }[] }>(
      "/api/v1/rules",
    );
    const health = groups.flatMap(({ rules }) => rules.map((rule) => [rule.name, rule.health]));
    expect(health.length).toBeGreaterThan(10);
    for (const [name, how] of health) expect([name, how]).toEqual([name, "ok"]);
  });

  test("sees that orders have failed, then that the worker is gone, and no more than that", async () => {
    const pending = async () =>
      (await query("count by (alertname, stage, status) (ALERTS)")).map(({ metric }) =>
        [metric["alertname"], metric["stage"] ?? metric["status"]].join(" "),
      );
    await waitFor("failed orders to be seen", async () =>
      (await pending()).includes("ConveyorOrdersFailed RESERVED"),
    );
    // A busy machine may be slow; all else is as it should be.
    const unlikely = (await pending()).filter((each) => !each.startsWith("ConveyorApiSlow"));
    expect(unlikely).toEqual(["ConveyorOrdersFailed RESERVED"]);

    await line.workers[0]!.stop();
    const stages = lifecycle.steps.map(({ name }) => name);
    await waitFor("the worker to be missed", async () => {
      const seen = await pending();
      return stages.every((stage) => seen.includes(`ConveyorNoWorkers ${stage}`));
    });
  });
});
