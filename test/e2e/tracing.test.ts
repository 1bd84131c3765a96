import { createServer, request as forward, type IncomingHttpHeaders } from "node:http";
import { once } from "node:events";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, jest, test } from "@jest/globals";
import { startProviders, type Providers } from "../../tools/simulators/providers.ts";
import { notificationChannelOf } from "../../src/events/stream.ts";
import { lifecycle } from "../../src/order/lifecycle.ts";
import { PLAIN_ORDER, TestClient } from "../support/client.ts";
import { createTestEnvironment } from "../support/environment.ts";
import { startLine, type TestLine } from "../support/line.ts";
import { startOtlpReceiver, type OtlpReceiver, type ReceivedSpan } from "../support/otlp.ts";
import { start, startApi, untilLogged } from "../support/processes.ts";
import { waitFor } from "../support/wait-for.ts";

jest.setTimeout(120_000);

const SECRETS = {
  paymentToken: "tok_stumbles_1",
  shipTo: {
    name: "Ada Lovelace",
    line1: "12 St James's Square",
    city: "London",
    postalCode: "SW1",
    country: "GB",
  },
};
const SERVER = 2;
const CLIENT = 3;
const PROBE = path.resolve(import.meta.dirname, "../support/loaded-probe.cjs");

const tracingTo = (receiver: OtlpReceiver) => ({
  OTEL_EXPORTER_OTLP_ENDPOINT: receiver.url,
  OTEL_EXPORTER_OTLP_PROTOCOL: "http/json",
  OTEL_BSP_SCHEDULE_DELAY: "50",
});

/** The spans of the trace to which the order's attempts belong. */
function traceOf(spans: readonly ReceivedSpan[], orderId: string): ReceivedSpan[] {
  const ids = new Set(
    spans
      .filter(({ attributes }) => attributes["conveyor.order.id"] === orderId)
      .map(({ traceId }) => traceId),
  );
  expect([...ids]).toHaveLength(1);
  return spans.filter(({ traceId }) => ids.has(traceId));
}

/** The one span that all others hang from. Fails unless these are one tree. */
function rootOf(spans: readonly ReceivedSpan[]): ReceivedSpan {
  const known = new Map(spans.map((span) => [span.spanId, span]));
  expect(known.size).toBe(spans.length);
  const roots = spans.filter(({ parentSpanId }) => !known.has(parentSpanId));
  expect(roots.map(({ name }) => name)).toHaveLength(1);
  for (const span of spans) {
    const seen = new Set<ReceivedSpan>();
    for (let at: ReceivedSpan | undefined = span; at; at = known.get(at.parentSpanId)) {
      expect(seen).not.toContain(at);
      seen.add(at);
    }
    expect(seen).toContain(roots[0]);
  }
  return roots[0]!;
}

/** What is known of the trace of an order. */
function knownOf(receiver: OtlpReceiver, orderId: string): ReceivedSpan[] {
  const own = receiver.spans.find(({ attributes }) => attributes["conveyor.order.id"] === orderId);
  return receiver.spans.filter(({ traceId }) => traceId === own?.traceId);
}

/** Waits until the order's last attempt has come, and what all spans hang from. */
async function ended(
  receiver: OtlpReceiver,
  orderId: string,
  last: { readonly stage?: string; readonly outcome: string; readonly jobs?: readonly string[] },
): Promise<ReceivedSpan[]> {
  return waitFor(`the whole trace of ${orderId}`, () => {
    const all = knownOf(receiver, orderId);
    const known = new Set(all.map(({ spanId }) => spanId));
    const roots = all.filter(({ parentSpanId }) => !known.has(parentSpanId));
    const isWhole =
      all.some(
        ({ attributes }) =>
          attributes["conveyor.outcome"] === last.outcome &&
          (last.stage === undefined || attributes["conveyor.stage"] === last.stage),
      ) &&
      (last.jobs ?? []).every((job) => all.some(({ name }) => name === job)) &&
      roots.length === 1 &&
      // It all began with a request, which is told by another process than the jobs.
      !roots[0]?.name.startsWith("process ");
    return isWhole && traceOf(receiver.spans, orderId);
  });
}

/** @param jobs those that it takes: one for all stages, and further ones for what fails or has to wait. */
function delivered(
  receiver: OtlpReceiver,
  orderId: string,
  jobs: readonly string[] = ["process reserve"],
): Promise<ReceivedSpan[]> {
  return ended(receiver, orderId, { stage: "deliver", outcome: "done", jobs });
}

/** Waits until paying has failed so many times. */
async function failing(receiver: OtlpReceiver, orderId: string, times: number): Promise<void> {
  await waitFor(`${times} payments to fail`, () =>
    receiver.spans.some(
      ({ attributes, failed }) =>
        failed &&
        attributes["conveyor.order.id"] === orderId &&
        attributes["conveyor.stage"] === "pay" &&
        Number(attributes["conveyor.attempt"]) >= times,
    ),
  );
}

describe("the trace of an order", () => {
  let receiver: OtlpReceiver;
  let providers: Providers;
  let line: TestLine;
  /** What the payment provider was sent along with each charge, by its key. */
  const sentAlong = new Map<string, IncomingHttpHeaders>();
  const proxy = createServer((request, response) => {
    sentAlong.set(String(request.headers["webhook-id"]), request.headers);
    const { method, headers } = request;
    request.pipe(
      forward(providers.paymentsUrl + (request.url ?? ""), { method, headers }, (answer) => {
        response.writeHead(answer.statusCode ?? 502, answer.headers);
        answer.pipe(response);
      }),
    );
  });

  beforeAll(async () => {
    receiver = await startOtlpReceiver();
    providers = await startProviders({ transitMs: 1_000 });
    proxy.listen(0, "127.0.0.1");
    await once(proxy, "listening");
    const address = proxy.address();
    const port = typeof address === "object" ? address?.port : undefined;
    line = await startLine({
      env: {
        ...tracingTo(receiver),
        PAYMENTS_URL: `http://127.0.0.1:${port}`,
        CARRIER_URL: providers.carrierUrl,
        SWEEP_INTERVAL_MS: "100",
      },
    });
    await line.client.put("/stock/MUG-BLUE", { onHand: 10_000 });
  });
  afterAll(async () => {
    await line?.close();
    await providers?.close();
    proxy.close();
    proxy.closeAllConnections();
    await receiver?.close();
  });

  test("is one tree, from the client's own span through every stage, attempt and batch to the last event", async () => {
    const theirs = { traceId: "0af7651916cd43dd8448eb211c80319c", spanId: "b7ad6b7169203331" };
    const { id } = await line.client.order(
      { ...PLAIN_ORDER, ...SECRETS },
      { traceparent: `00-${theirs.traceId}-${theirs.spanId}-01` },
    );
    const spans = await delivered(receiver, id, ["process reserve", "process pay", "process deliver"]);
    const root = rootOf(spans);
    expect(root).toMatchObject({
      name: "POST /orders",
      kind: SERVER,
      service: "conveyor-api",
      traceId: theirs.traceId,
      parentSpanId: theirs.spanId,
      attributes: { "http.route": "/orders", "http.response.status_code": 202 },
    });

    const attempts = spans.filter(({ attributes }) => attributes["conveyor.order.id"] === id);
    const outcomes = attempts.map(
      ({ attributes }) => `${String(attributes["conveyor.stage"])} ${String(attributes["conveyor.outcome"])}`,
    );
    expect(outcomes).toEqual(
      expect.arrayContaining(["reserve done", "ship done", "deliver snoozed", "deliver done"]),
    );
    // Of the payment, the first attempt fails.
    const payments = attempts.filter(({ name }) => name === "pay");
    expect(payments.map(({ attributes, failed }) => [attributes["conveyor.attempt"], failed])).toEqual([
      [1, true],
      [2, false],
    ]);

    const named = (name: string) => spans.filter((span) => span.name === name);
    const byId = new Map(spans.map((span) => [span.spanId, span]));
    const around = (span: ReceivedSpan | undefined): string[] => {
      const parent = span && byId.get(span.parentSpanId);
      return parent ? [parent.name, ...around(parent)] : [];
    };
    for (const batch of ["new_orders", "first_jobs", "stock_moves", "status_changes", "next_jobs"]) {
      expect([batch, named(batch).length > 0]).toEqual([batch, true]);
      expect(named(`flush ${batch}`).map((flush) => byId.get(flush.parentSpanId)?.name)).toContain(batch);
    }
    // The order is written within the request, its last event within its last attempt.
    expect(around(named("INSERT orders; COMMIT")[0])).toEqual([
      "flush new_orders",
      "new_orders",
      "POST /orders",
    ]);
    const events = named("UPDATE orders; COMMIT").map((span) => around(span).slice(0, 4));
    expect(events).toContainEqual(["flush status_changes", "status_changes", "deliver", "process deliver"]);
    for (const job of named("process reserve")) expect(around(job)).toEqual(["first_jobs", "POST /orders"]);
    // The payment's first attempt is made in place, and its second one with a job.
    expect(named("pay").map((span) => around(span)[0])).toEqual(["process reserve", "process pay"]);
    for (const job of named("process pay"))
      expect(around(job).slice(0, 2)).toEqual(["next_jobs", "process reserve"]);
    for (const attempt of named("ship")) expect(around(attempt)[0]).toBe("process pay");
    expect(new Set(spans.map(({ service }) => service))).toEqual(
      new Set(["conveyor-api", "conveyor-worker"]),
    );
  });

  test("goes on at the services outside", async () => {
    const { id } = await line.client.order(PLAIN_ORDER);
    const spans = await delivered(receiver, id);
    const call = spans.find(
      ({ kind, name, parentSpanId }) =>
        kind === CLIENT &&
        name === "POST" &&
        spans.find(({ spanId }) => spanId === parentSpanId)?.name === "pay",
    );
    expect(sentAlong.get(`${id}:pay`)?.["traceparent"]).toBe(`00-${call?.traceId}-${call?.spanId}-01`);
    expect(call?.attributes["http.response.status_code"]).toBe(200);
  });

  test("stands in every log line that is about it", async () => {
    const { id } = await line.client.order(PLAIN_ORDER);
    const [{ traceId }] = [rootOf(await delivered(receiver, id))];
    const lines = line.workers[0]!.logs().filter((entry) => entry["orderId"] === id);
    expect(lines.length).toBeGreaterThan(3);
    for (const entry of lines) {
      expect(entry).toMatchObject({ trace_id: traceId, span_id: expect.stringMatching(/^[0-9a-f]{16}$/) });
    }
    expect(line.workers[0]!.logs().find(({ msg }) => msg === "worker ready")).not.toHaveProperty("trace_id");
  });

  test("is its own, when many share a batch, and linked with it", async () => {
    const orders = await Promise.all(Array.from({ length: 30 }, () => line.client.order(PLAIN_ORDER)));
    const traces = await Promise.all(orders.map(({ id }) => delivered(receiver, id)));
    const ids = traces.map((spans) => rootOf(spans).traceId);
    expect(new Set(ids).size).toBe(orders.length);
    for (const spans of traces) {
      expect(spans.filter(({ name }) => name === "POST /orders")).toHaveLength(1);
      // Each job in the trace of its own order, although many were added in one go.
      expect(spans.filter(({ name }) => name === "process reserve")).toHaveLength(1);
      expect(spans.filter(({ name }) => name === "ship")).toHaveLength(1);
    }

    const all = traces.flat();
    const shared = all.filter(
      ({ name, attributes }) => name === "flush new_orders" && Number(attributes["conveyor.batch.size"]) > 1,
    );
    expect(shared.length).toBeGreaterThan(0);
    for (const flush of shared) {
      expect(flush.links).toHaveLength(Number(flush.attributes["conveyor.batch.size"]) - 1);
      for (const link of flush.links) {
        const member = all.find(({ spanId }) => spanId === link.spanId);
        expect(member).toMatchObject({ name: "new_orders", traceId: link.traceId });
        expect(member?.traceId).not.toBe(flush.traceId);
        expect(member?.links).toContainEqual(expect.objectContaining({ spanId: flush.spanId }));
      }
    }
  });

  test("has nothing of what a customer would not have told", () => {
    const text = JSON.stringify(receiver.spans);
    expect(text).toContain("INSERT orders");
    for (const secret of [SECRETS.paymentToken, ...Object.values(SECRETS.shipTo).slice(0, 3)])
      expect(text).not.toContain(secret);
  });

  test("is not begun for health checks and scrapes, nor for what the workers do by themselves", async () => {
    await fetch(`${line.client.url}/health/ready`);
    await line.client.get("/metrics");
    await line.client.get("/stock/MUG-BLUE");
    await waitFor("a later request to be told", () =>
      receiver.spans.some(({ name }) => name === "GET /stock/:sku"),
    );
    const roots = new Set(
      receiver.spans.filter(({ parentSpanId }) => parentSpanId === "").map(({ name }) => name),
    );
    expect([...roots].toSorted()).toEqual(["GET /stock/:sku", "POST /orders", "PUT /stock/:sku"]);
  });

  test("has no token of a callback", async () => {
    const token = "unused-".padEnd(51, "x");
    const { status } = await fetch(`${line.client.url}/operations/${token}`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: '{"done":{}}',
    });
    expect(status).toBe(404);
    const span = await waitFor("the callback's span", () =>
      receiver.spans.find(({ name }) => name === "POST /operations/:token"),
    );
    expect(span.attributes["url.path"]).toBe("/operations/:token");
    expect(JSON.stringify(receiver.spans)).not.toContain(token);
  });

  test("has the undoing of an order that a stage said no to", async () => {
    const { id } = await line.client.order({ ...PLAIN_ORDER, paymentToken: "tok_declined" });
    const spans = await ended(receiver, id, { outcome: "cancelled", jobs: ["process reserve"] });
    expect(rootOf(spans).name).toBe("POST /orders");
    expect(spans.map(({ name }) => name)).not.toContain("resumed");
  });

  test("has the undoing of an order that its customer cancels, linked with the request", async () => {
    const { id } = await line.client.order({ ...PLAIN_ORDER, paymentToken: "tok_down" });
    // By then the next attempt is a second away, and the job for undoing takes the place of the one that waits.
    await failing(receiver, id, 6);
    const theirs = "1af7651916cd43dd8448eb211c80319c";
    const traceparent = `00-${theirs}-b7ad6b7169203331-01`;
    const { status } = await line.client.post(
      `/orders/${id}/cancel`,
      { reason: "ordered twice" },
      { traceparent },
    );
    expect(status).toBe(202);
    const spans = await ended(receiver, id, {
      stage: "cancel",
      outcome: "cancelled",
      jobs: ["process cancel"],
    });
    expect(rootOf(spans).name).toBe("POST /orders");
    const mark = spans.find(({ name }) => name === "resumed");
    const request = await waitFor("the request to be told", () =>
      receiver.spans.find(({ name }) => name === "POST /orders/:id/cancel"),
    );
    expect(request.traceId).toBe(theirs);
    expect(mark?.links).toEqual([expect.objectContaining({ traceId: theirs, spanId: request.spanId })]);
    const job = spans.find(({ name }) => name === "process cancel");
    expect(job?.parentSpanId).toBe(mark?.spanId);
  });

  test("goes on when Redis has lost all jobs, and an order is queued again", async () => {
    const { id } = await line.client.order({ ...PLAIN_ORDER, paymentToken: "tok_down" });
    await failing(receiver, id, 1);
    await line.environment.redis.flushdb();
    const marks = await waitFor("the order to be queued again", () => {
      const found = knownOf(receiver, id).filter(({ name }) => name === "resumed");
      return found.length > 0 && found;
    });
    // Nobody asked for it.
    expect(marks[0]?.links).toEqual([]);
    await waitFor("another attempt", () =>
      knownOf(receiver, id).some(({ parentSpanId }) => parentSpanId === marks[0]?.spanId),
    );
    await line.client.post(`/orders/${id}/cancel`, { reason: "ordered twice" });
    expect(rootOf(await ended(receiver, id, { outcome: "cancelled" })).name).toBe("POST /orders");
  });

  test("stands with the order's first event", async () => {
    const { id } = await line.client.order(PLAIN_ORDER);
    const root = rootOf(await delivered(receiver, id));
    const { body } = await line.client.get(`/orders/${id}/events`);
    expect(body.items[0]?.record?.["traceparent"]).toMatch(
      new RegExp(`^00-${root.traceId}-[0-9a-f]{16}-01$`),
    );
  });
});

describe("tracing", () => {
  let receiver: OtlpReceiver;
  beforeAll(async () => {
    receiver = await startOtlpReceiver();
  });
  afterAll(() => receiver?.close());

  test("follows an order through an API without queues as well", async () => {
    const environment = await createTestEnvironment();
    const env = {
      PROCESSING: "sync",
      ...tracingTo(receiver),
    };
    const { databaseUrl, providers } = environment;
    const api = await startApi({ databaseUrl, providers, env });
    const client = new TestClient(api.url);
    await client.put("/stock/MUG-BLUE", { onHand: 10 });
    const { status, body } = await client.post("/orders", PLAIN_ORDER);
    expect([status, body.status]).toEqual([201, "DELIVERED"]);
    // What is left is handed over when it stops.
    expect(await api.stop()).toBe(0);
    const spans = traceOf(receiver.spans, body.id);
    expect(rootOf(spans)).toMatchObject({
      name: "POST /orders",
      attributes: { "http.response.status_code": 201 },
    });
    const stages = spans.filter(({ attributes }) => attributes["conveyor.order.id"] === body.id);
    expect(stages.map(({ name }) => name)).toEqual(lifecycle.stages.map(({ name }) => name));
    const told = api.logs().filter((entry) => entry["orderId"] === body.id);
    expect(told.length).toBeGreaterThan(3);
    for (const entry of told) expect(entry["trace_id"]).toBe(spans[0]?.traceId);
    await environment.close();
  });

  /** Has an API of its own take one request, and gives what it has loaded and logged. */
  async function oneRequest(env: Readonly<Record<string, string>>) {
    const environment = await createTestEnvironment();
    const api = await startApi({ ...environment, env: { NODE_OPTIONS: `--require "${PROBE}"`, ...env } });
    expect((await new TestClient(api.url).put("/stock/MUG-BLUE", { onHand: 1 })).status).toBe(200);
    expect(await api.stop()).toBe(0);
    await environment.close();
    const loaded = await untilLogged(api, "loaded");
    const packages = Array.isArray(loaded["packages"]) ? loaded["packages"].map(String) : [];
    return packages.filter((name) => name.startsWith("@opentelemetry/") || name === "bullmq-otel");
  }

  test("loads nothing but OpenTelemetry's interface when it is off, and all of it when it is on", async () => {
    const off = [
      {},
      { OTEL_SERVICE_NAME: "shop" },
      { OTEL_EXPORTER_OTLP_ENDPOINT: receiver.url, OTEL_SDK_DISABLED: "true" },
      { OTEL_EXPORTER_OTLP_ENDPOINT: receiver.url, OTEL_TRACES_EXPORTER: "none" },
    ];
    const before = receiver.types.length;
    // prom-client has that one.
    for (const env of off) expect([env, await oneRequest(env)]).toEqual([env, ["@opentelemetry/api"]]);
    expect(receiver.types).toHaveLength(before);
    expect(await oneRequest({ OTEL_EXPORTER_OTLP_ENDPOINT: receiver.url })).toEqual(
      expect.arrayContaining(["@opentelemetry/sdk-trace-node", "bullmq-otel"]),
    );
  });

  test("hands over protobuf unless it is told otherwise", async () => {
    const before = receiver.types.length;
    await oneRequest({ OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: `${receiver.url}/v1/traces` });
    expect([...new Set(receiver.types.slice(before))]).toEqual(["application/x-protobuf"]);
  });

  test("keeps to the variables for sampler, name and resource", async () => {
    const before = receiver.types.length;
    await oneRequest({ ...tracingTo(receiver), OTEL_TRACES_SAMPLER: "always_off" });
    expect(receiver.types).toHaveLength(before);
    const env = {
      ...tracingTo(receiver),
      OTEL_SERVICE_NAME: "shop",
      OTEL_RESOURCE_ATTRIBUTES: "team=orders,deployment.environment.name=test",
      OTEL_TRACES_SAMPLER: "parentbased_traceidratio",
    };
    await oneRequest(env);
    expect(receiver.spans.at(-1)).toMatchObject({
      service: "shop",
      resource: { team: "orders", "deployment.environment.name": "test" },
    });
  });

  test("follows an order that an API without queues has left, in the order's own trace", async () => {
    const environment = await createTestEnvironment();
    const env = {
      PROCESSING: "sync",
      SWEEP_AFTER_MS: "0",
      SWEEP_INTERVAL_MS: "50",
      ...tracingTo(receiver),
    };
    const { databaseUrl, providers } = environment;
    providers.setTransit(3_600_000);
    const first = await startApi({ databaseUrl, providers, env });
    const client = new TestClient(first.url);
    await client.put("/stock/MUG-BLUE", { onHand: 10 });
    const { body } = await client.post("/orders", PLAIN_ORDER);
    expect(body.status).toBe("SHIPPED");
    expect(await first.stop()).toBe(0);

    const second = await startApi({ databaseUrl, providers, env });
    const spans = await ended(receiver, body.id, { stage: "deliver", outcome: "snoozed" });
    // Each round of a sweeper resumes it, and the end of a process may come between a mark and what follows it.
    await waitFor("what follows on a mark", () => {
      const known = knownOf(receiver, body.id);
      const marks = new Set(known.filter(({ name }) => name === "resumed").map(({ spanId }) => spanId));
      return known.some(({ parentSpanId }) => marks.has(parentSpanId));
    });
    expect(await second.stop()).toBe(0);
    expect(rootOf(knownOf(receiver, body.id))).toEqual(rootOf(spans));
    await environment.close();
  });

  test("goes on in the isolated process, which announces its events as well", async () => {
    const line = await startLine({ workers: 0, env: tracingTo(receiver) });
    await line.client.put("/stock/MUG-BLUE", { onHand: 10 });
    const { id } = await line.client.order(PLAIN_ORDER);
    const { databaseUrl, redisUrl, redis } = line.environment;
    const killed = start("workers/main.ts", {
      databaseUrl,
      redisUrl,
      env: tracingTo(receiver),
      args: ["--stages", "reserve", "--crash-at", "reserve: after run"],
    });
    expect((await killed.process.exited).signal).toBe("SIGKILL");
    const announced: string[] = [];
    const listener = redis.duplicate();
    listener.on("message", (channel: string) => announced.push(channel));
    await listener.subscribe(notificationChannelOf(redis));

    // It takes the job over, and has it tried in a process of its own.
    const worker = await line.addWorker({ args: ["--stages", "reserve"] });
    await line.client.orderIn(id, "RESERVED");
    // Before it ends: an announcement that is due then is not made.
    await waitFor("the events to be announced", () => announced.length > 0);
    listener.disconnect();
    expect(await worker.stop()).toBe(0);
    // Of the trace, what the worker knew that was killed is lost.
    const spans = knownOf(receiver, id);
    const attempt = spans.find(({ attributes }) => attributes["conveyor.outcome"] === "done");
    const parent = spans.find(({ spanId }) => spanId === attempt?.parentSpanId);
    expect(parent?.name).toBe("process reserve");
    expect(Number(parent?.resource["process.pid"])).toBe(worker.logs()[0]?.["pid"]);
    expect(attempt?.resource["process.pid"]).not.toBe(parent?.resource["process.pid"]);
    await line.close();
  });

  test("holds nothing up when the collector takes traces and is silent, not even the end", async () => {
    const environment = await createTestEnvironment();
    const silent = createServer(() => undefined).listen(0, "127.0.0.1");
    await once(silent, "listening");
    const address = silent.address();
    const port = typeof address === "object" ? address?.port : undefined;
    const asked = once(silent, "request");
    const env = { ...tracingTo(receiver), OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${port}` };
    const api = await startApi({ ...environment, env });
    const client = new TestClient(api.url);
    await client.order(PLAIN_ORDER);
    await asked;
    expect((await client.order(PLAIN_ORDER)).status).toBe("CREATED");
    const stoppedAt = performance.now();
    expect(await api.stop()).toBe(0);
    expect(performance.now() - stoppedAt).toBeLessThan(8_000);
    silent.close();
    silent.closeAllConnections();
    await environment.close();
  });

  test("costs a request nothing when nobody takes the traces, and the log says so", async () => {
    const environment = await createTestEnvironment();
    const away = await startOtlpReceiver();
    await away.close();
    const api = await startApi({ ...environment, env: tracingTo(away) });
    const client = new TestClient(api.url);
    expect((await client.order(PLAIN_ORDER)).status).toBe("CREATED");
    await untilLogged(api, "could not export traces");
    const stoppedAt = performance.now();
    expect(await api.stop()).toBe(0);
    expect(performance.now() - stoppedAt).toBeLessThan(10_000);
    await environment.close();
  });

  test.each([
    [
      { OTEL_EXPORTER_OTLP_PROTOCOL: "grpc" },
      "OTEL_EXPORTER_OTLP_PROTOCOL must be http/protobuf or http/json",
    ],
    [{ OTEL_TRACES_EXPORTER: "zipkin" }, "OTEL_TRACES_EXPORTER must be otlp or none, not zipkin"],
    // By itself the SDK would go on without.
    [
      { OTEL_TRACES_SAMPLER: "parentbased", OTEL_EXPORTER_OTLP_TIMEOUT: "soon" },
      'OTEL_TRACES_SAMPLER value "parentbased" invalid\n',
      "Unknown value 'soon' for OTEL_EXPORTER_OTLP_TIMEOUT, expected a number\n",
    ],
    [
      { OTEL_TRACES_SAMPLER: "traceidratio", OTEL_TRACES_SAMPLER_ARG: "2", OTEL_BSP_MAX_QUEUE_SIZE: "many" },
      "OTEL_TRACES_SAMPLER_ARG=2 was given, but it is out of range",
      "Unknown value 'many' for OTEL_BSP_MAX_QUEUE_SIZE",
    ],
    [
      { OTEL_RESOURCE_ATTRIBUTES: "team", OTEL_EXPORTER_OTLP_COMPRESSION: "brotli" },
      "OTEL_RESOURCE_ATTRIBUTES",
      "OTEL_EXPORTER_OTLP_COMPRESSION is invalid",
    ],
  ])("refuses what it does not know: %j", async (env, ...messages) => {
    const databaseUrl = "mysql://nobody@127.0.0.1:1/none";
    const api = start("src/main.ts", {
      databaseUrl,
      redisUrl: "redis://127.0.0.1:1",
      env: { OTEL_EXPORTER_OTLP_ENDPOINT: receiver.url, ...env },
    });
    await waitFor("the API to end", () => !api.process.running);
    const told = `${api.lines.join("\n")}\n`;
    expect(told).toContain("the configuration is invalid:");
    for (const message of messages) expect(told).toContain(message);
    // For operators: without a stack.
    expect(told).not.toContain("    at ");
  });
});
