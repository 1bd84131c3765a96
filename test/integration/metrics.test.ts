import { createServer, type Server } from "node:net";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { BASIC, BEARER } from "../support/api.ts";
import { PLAIN_ORDER, TestClient } from "../support/client.ts";
import { createTestEnvironment, type TestEnvironment } from "../support/environment.ts";
import { startLine, type TestLine } from "../support/line.ts";
import { scrape, type Scrape } from "../support/metrics.ts";
import { start, startApi, startWorker, untilLogged, type TestProcess } from "../support/processes.ts";
import { waitFor } from "../support/wait-for.ts";

const EVERYWHERE = { METRICS_PORT: "0" };

function metricsUrl(process: TestProcess): string {
  const ready = process.logs().find((line) => line["metrics"] !== undefined);
  if (ready === undefined) throw new Error("the process told no address of its metrics");
  return String(ready["metrics"]);
}

/** A worker's metrics, once they are as expected. */
function until(
  url: string,
  what: string,
  holds: (scraped: Scrape) => boolean | Promise<boolean>,
): Promise<Scrape> {
  return waitFor(what, async () => {
    const scraped = await scrape(url);
    return (await holds(scraped)) && scraped;
  });
}

describe("the metrics of an API and its workers", () => {
  let line: TestLine;
  let worker: string;
  beforeAll(async () => {
    line = await startLine({ env: { ...EVERYWHERE, SWEEP_INTERVAL_MS: "50", STAGE_ATTEMPTS: "2" } });
    worker = metricsUrl(line.workers[0]!);
    await line.client.put("/stock/MUG-BLUE", { onHand: 1_000 });
  });
  afterAll(() => line?.close());

  test("of the API are for who has a key, as bearer or by login", async () => {
    const url = `${line.client.url}/metrics`;
    expect((await fetch(url)).status).toBe(401);
    for (const headers of [BASIC, BEARER]) {
      const response = await fetch(url, { headers });
      expect(response.status).toBe(200);
      expect(response.headers.get("content-type")).toBe("text/plain; version=0.0.4; charset=utf-8");
      expect(await response.text()).toContain("# TYPE conveyor_http_request_duration_seconds histogram");
    }
    expect((await fetch(url, { method: "POST", headers: BASIC })).status).toBe(405);
  });

  test("on a port of their own are for whoever gets there, and nothing else is", async () => {
    for (const url of [worker, metricsUrl(line.api)]) {
      expect(url).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/metrics$/);
      const response = await fetch(`${url}?name=x`);
      expect(response.status).toBe(200);
      expect(response.headers.get("content-type")).toBe("text/plain; version=0.0.4; charset=utf-8");
      expect((await fetch(url, { method: "POST" })).status).toBe(405);
      expect((await fetch(url.replace("/metrics", "/orders"))).status).toBe(404);
    }
  });

  test("come with the health of the process, for orchestrators", async () => {
    for (const process of [line.workers[0]!, line.api]) {
      const at = (path: string, method = "GET") =>
        fetch(metricsUrl(process).replace("/metrics", path), { method });
      expect(await (await at("/health/live")).json()).toEqual({ live: true });
      await waitFor("the last of it to have started", async () => (await at("/health/accepting")).ok);
      expect(await (await at("/health/accepting?verbose")).json()).toEqual({ accepting: true });
      expect((await at("/health/live", "POST")).status).toBe(405);
      expect((await at("/health/ready")).status).toBe(404);
      expect((await at("/constructor")).status).toBe(404);
    }
  });

  test("tell the way of orders, stage by stage", async () => {
    const placed = await Promise.all(Array.from({ length: 20 }, () => line.client.order(PLAIN_ORDER)));
    await Promise.all(placed.map(({ id }) => line.client.orderIn(id, "DELIVERED")));
    const declined = await line.client.order({ ...PLAIN_ORDER, paymentToken: "tok_declined" });
    await line.client.orderIn(declined.id, "CANCELLED");
    const stumbling = await line.client.order({ ...PLAIN_ORDER, paymentToken: "tok_stumbles_1" });
    await line.client.orderIn(stumbling.id, "DELIVERED");

    const attempts = (scraped: Scrape, stage: string, outcome: string) =>
      scraped.value("conveyor_stage_duration_seconds_count", { stage, outcome });
    const told = await until(
      worker,
      "all attempts to be told",
      (scraped) => scraped.value("conveyor_order_duration_seconds_count", { status: "DELIVERED" }) === 21,
    );
    expect(attempts(told, "reserve", "done")).toBe(22);
    expect(attempts(told, "pay", "done")).toBe(21);
    expect(attempts(told, "pay", "cancelled")).toBe(1);
    expect(attempts(told, "pay", "retried")).toBe(1);
    expect(attempts(told, "deliver", "done")).toBe(21);
    expect(attempts(told, "deliver", "failed")).toBe(0);
    expect(told.value("conveyor_stage_retries_total", { stage: "pay", cause: "service_away" })).toBe(1);
    expect(told.value("conveyor_stage_retries_total", { stage: "ship", cause: "failed" })).toBe(0);
    expect(told.value("conveyor_order_duration_seconds_count", { status: "CANCELLED" })).toBe(1);
    const seconds = told.value("conveyor_order_duration_seconds_sum", { status: "DELIVERED" }) ?? 0;
    expect(seconds).toBeGreaterThan(0);
    expect(seconds).toBeLessThan(21 * 60);
    // Each order has one first attempt at each stage that it comes to.
    expect(told.value("conveyor_stage_wait_seconds_count", { stage: "pay" })).toBe(22);

    for (const work of ["loads", "status_changes", "next_jobs", "stock_moves"]) {
      const flushes = told.value("conveyor_group_commit_flush_seconds_count", { work }) ?? 0;
      expect([work, flushes > 0]).toEqual([work, true]);
      expect(told.value("conveyor_group_commit_batch_size_count", { work })).toBe(flushes);
    }
    // 22 were reserved, 21 shipped, and one given back.
    expect(told.value("conveyor_group_commit_batch_size_sum", { work: "stock_moves" })).toBe(22 + 21);
    expect(told.value("conveyor_group_commit_batch_size_sum", { work: "stock_releases" })).toBe(1);
  });

  test("tell what the API was asked, by routes and not by addresses", async () => {
    const { id } = await line.client.order(PLAIN_ORDER);
    await line.client.get(`/orders/${id}`);
    await line.client.get(`/orders/${id}/events`);
    await line.client.get(`/${id}`);
    await line.client.request("BREW", `/orders/${id}`).catch(() => undefined);
    await fetch(`${line.client.url}/orders/${id}`);
    const told = await scrape(`${line.client.url}/metrics`);
    const requests = (labels: Record<string, string>) =>
      told.value("conveyor_http_request_duration_seconds_count", labels) ?? 0;
    expect(requests({ method: "GET", route: "/orders/:id", status: "2xx" })).toBeGreaterThan(0);
    expect(requests({ method: "GET", route: "/orders/:id/events", status: "2xx" })).toBe(1);
    expect(requests({ method: "GET", route: "none", status: "4xx" })).toBeGreaterThanOrEqual(1);
    // Without a key.
    expect(requests({ method: "GET", route: "/orders/:id", status: "4xx" })).toBe(1);
    expect(requests({ method: "POST", route: "/orders", status: "2xx" })).toBe(
      told.value("conveyor_orders_accepted_total"),
    );
    expect(told.text).not.toContain(id);
  });

  test("have no more series for odd requests, however many", async () => {
    const url = `${line.client.url}/metrics`;
    const seriesOf = async (address: string) =>
      (await scrape(address)).text.split("\n").filter((each) => each.startsWith("conveyor_")).length;
    const odd = (from: number, to: number) =>
      Promise.all(
        Array.from({ length: to - from }, (_, index) => `odd-${from + index}`).flatMap((name) =>
          [
            `/${name}`,
            `/${name}/metrics`,
            `/orders/${name}`,
            `/ORDERS/${name}/Events`,
            `/orders/${name}/stream`,
            `/orders?reference=${name}&customerId=${name}&status=${name}`,
            `/stock/${name}`,
            `/events?after=${name}`,
            `/webhook-endpoints/${name}/deliveries`,
            `/console/orders/${name}`,
            `/Console/webhooks/deliveries/${name}`,
            `/console/queues/${name}/pause`,
            `/console/assets/${name}.js`,
            `/queues/api/queues/${name}`,
            `/queues/${name}`,
            `/docs/assets/${name}`,
            `/%2e%2e/${name}%2f`,
            `//${name}`,
          ].flatMap((path) =>
            ["GET", "POST", "PROPFIND"].map((method) =>
              fetch(line.client.url + path, { method, headers: BASIC }).then((response) => response.text()),
            ),
          ),
        ),
      );
    await odd(0, 2);
    const before = await seriesOf(url);
    await odd(2, 8);
    expect(await seriesOf(url)).toBe(before);

    const { id } = await line.client.order({
      ...PLAIN_ORDER,
      customerId: "odd-customer",
      reference: "odd-reference",
      paymentToken: "odd-token",
      lines: [{ sku: "odd-sku", quantity: 1, unitPrice: 1 }],
    });
    await line.client.orderIn(id, "CANCELLED");
    for (const address of [url, worker]) {
      const { text } = await scrape(address);
      expect(text).not.toMatch(/odd-|%2e/i);
      expect(text).not.toContain(id);
    }
  });

  test("tell that those who listen to events have got them", async () => {
    await until(
      `${line.client.url}/metrics`,
      "every event to be passed on",
      (scraped) =>
        scraped.value("conveyor_relay_lag_events") === 0 && scraped.value("conveyor_relay_lag_seconds") === 0,
    );
  });

  test("tell of no order twice that was sent twice", async () => {
    const before = await scrape(`${line.client.url}/metrics`);
    const sent = () => line.client.post("/orders", PLAIN_ORDER, { "idempotency-key": "again" });
    await sent();
    expect((await sent()).headers.get("idempotent-replayed")).toBe("true");
    const after = await scrape(`${line.client.url}/metrics`);
    const accepted = (told: Scrape) => told.value("conveyor_orders_accepted_total") ?? NaN;
    expect(accepted(after) - accepted(before)).toBe(1);
  });

  test("tell how the connections to MySQL are used", async () => {
    for (const url of [worker, `${line.client.url}/metrics`]) {
      const told = await scrape(url);
      const states = told.all("conveyor_database_connections");
      expect(states.map(({ labels }) => labels["state"])).toEqual(["in_use", "idle"]);
      const open = states.reduce((sum, { value }) => sum + value, 0);
      expect(open).toBeGreaterThan(0);
      expect(told.value("conveyor_database_connections_limit")).toBe(10);
      expect(open).toBeLessThanOrEqual(10);
      expect(told.value("conveyor_database_connections_waiting")).toBe(0);
    }
  });

  test("tell what waits and what failed, by queue and by status", async () => {
    line.environment.providers.setFault("carrier", { kind: "down" });
    const told = await until(worker, "the stage to be held", async (scraped) => {
      // Until the workers have noticed, parcels may still leave.
      await line.client.order(PLAIN_ORDER);
      return (
        scraped.value("conveyor_stage_breaker_open", { stage: "ship" }) === 1 &&
        (scraped.value("conveyor_orders", { status: "PAID", state: "moving" }) ?? 0) > 0
      );
    });
    expect(told.value("conveyor_stage_breaker_open", { stage: "pay" })).toBe(0);
    expect(told.value("conveyor_worker_concurrency", { stage: "ship" })).toBe(0);
    expect(told.value("conveyor_worker_concurrency", { stage: "pay" })).toBe(50);
    expect(told.value("conveyor_oldest_order_age_seconds", { stage: "ship" })).toBeGreaterThan(0);
    expect(told.value("conveyor_oldest_order_age_seconds", { stage: "cancel" })).toBe(0);
    expect(told.value("conveyor_sweep_timestamp_seconds", { status: "PAID" })).toBeGreaterThan(
      Date.now() / 1_000 - 60,
    );
    const queues = await scrape(`${line.client.url}/metrics`);
    const jobs = (stage: string) =>
      queues.all("conveyor_queue_jobs", { stage }).reduce((sum, { value }) => sum + value, 0);
    expect(jobs("ship")).toBeGreaterThan(0);
    expect(jobs("cancel")).toBe(0);
    expect(queues.all("conveyor_queue_jobs").map(({ labels }) => labels["state"])).toContain("failed");
  });
});

describe("who serves metrics where", () => {
  let environment: TestEnvironment;
  beforeAll(async () => {
    environment = await createTestEnvironment();
  });
  afterAll(() => environment?.close());

  test("nobody has a port of its own without METRICS_PORT", async () => {
    const worker = await startWorker(environment);
    const ready = worker.logs().find(({ msg }) => msg === "worker ready");
    expect(ready).not.toHaveProperty("metrics");
    expect(await worker.stop()).toBe(0);
  });

  test("two workers of one machine do not clash with METRICS_PORT=0", async () => {
    const workers = await Promise.all([1, 2].map(() => startWorker({ ...environment, env: EVERYWHERE })));
    const told = await Promise.all(workers.map((worker) => scrape(metricsUrl(worker))));
    for (const each of told) expect(each.value("conveyor_worker_jobs", { stage: "pay" })).toBe(0);
    expect(await Promise.all(workers.map((worker) => worker.stop()))).toEqual([0, 0]);
  });

  test("a port that is taken is told to the operator, with what to do", async () => {
    const taken = createServer();
    await new Promise<void>((resolve) => taken.listen(0, "127.0.0.1", resolve));
    const worker = start("workers/main.ts", { ...environment, env: { METRICS_PORT: portOf(taken) } });
    await waitFor("the worker to end", () => !worker.process.running);
    expect(worker.lines.join("\n")).toContain(
      `port ${portOf(taken)} of 127.0.0.1 is in use: set METRICS_PORT to another one`,
    );
    taken.close();
  });

  test("an API tells of what it knows while Redis is away", async () => {
    const gone = createServer();
    await new Promise<void>((resolve) => gone.listen(0, "127.0.0.1", resolve));
    const redisUrl = `redis://127.0.0.1:${portOf(gone)}`;
    gone.close();
    const api = await startApi({ ...environment, redisUrl });
    const told = await scrape(`${api.url}/metrics`);
    expect(told.value("conveyor_redis_up")).toBe(0);
    expect(told.all("conveyor_queue_jobs")).toEqual([]);
    expect(told.value("conveyor_orders_accepted_total")).toBe(0);
    await api.stop();
  });

  test("an API without queues tells of the stages as well", async () => {
    const { databaseUrl, providers } = environment;
    const env = { PROCESSING: "sync", SWEEP_INTERVAL_MS: "50" };
    const api = await startApi({ databaseUrl, providers, env });
    const client = new TestClient(api.url);
    await client.put("/stock/MUG-BLUE", { onHand: 5 });
    expect((await client.post("/orders", { ...PLAIN_ORDER, paymentToken: "tok_declined" })).status).toBe(201);
    const told = await until(
      `${api.url}/metrics`,
      "the sweeper to be through",
      (scraped) => scraped.all("conveyor_orders").length > 0,
    );
    expect(told.value("conveyor_stage_duration_seconds_count", { stage: "pay", outcome: "cancelled" })).toBe(
      1,
    );
    expect(told.value("conveyor_order_duration_seconds_count", { status: "CANCELLED" })).toBe(1);
    expect(told.all("conveyor_queue_jobs")).toEqual([]);
    await untilLogged(api, "listening");
    await api.stop();
  });
});

function portOf(server: Server): string {
  const address = server.address();
  if (typeof address !== "object" || address === null) throw new Error("the server does not listen");
  return String(address.port);
}
