import type { ServerResponse } from "node:http";
import { afterEach, describe, expect, test } from "@jest/globals";
import { Webhook } from "standardwebhooks";
import { newSecret } from "../../src/events/webhooks/signature.ts";
import { InvalidPipelineError, Lifecycle } from "../../src/order/lifecycle.ts";
import { httpStage, type HttpStageOptions } from "../../src/order/http-stage.ts";
import {
  AlreadyUndoneError,
  NotNowError,
  RequestRefusedError,
  ServiceMisconfiguredError,
  ServiceUnavailableError,
} from "../../src/order/ports.ts";
import { reject, snooze, wait, Wait, type StageContext } from "../../src/order/stage.ts";
import type { RunAnswer } from "../../src/providers/http/answers.ts";
import { httpStages, type LaterResults } from "../../src/providers/http/stages.ts";
import { freePort } from "../../tools/launcher/ports.ts";
import { reply, startAnswering, type AnsweringServer } from "../support/answering.ts";
import { newOrder, NO_PORTS } from "../support/orders.ts";

const PATIENT_MS = 30_000;

const servers: AnsweringServer[] = [];
afterEach(async () => void (await Promise.all(servers.splice(0).map((server) => server.close()))));

type Given = Partial<HttpStageOptions<"fraud-check", "CHECKED">> & {
  secrets?: string[];
  timeoutMs?: number;
  callbacks?: LaterResults;
  waited?: StageContext["waited"];
};

const SHIP_TO = { name: "Ada Lovelace", line1: "1 Main St", city: "Ely", postalCode: "CB7", country: "GB" };
const order = {
  ...newOrder({ id: "o1", paymentToken: 'tok_"secret"', shipTo: SHIP_TO }),
  records: { reserve: { warehouse: "W1" } },
};

/** An HTTP stage whose service answers like this. */
async function stageOf(answer: (response: ServerResponse) => void, given: Given = {}) {
  const server = await startAnswering(answer);
  servers.push(server);
  return { ...stageAt(server.url, given), received: server.received };
}

function stageAt(
  url: string,
  { secrets = [], timeoutMs = PATIENT_MS, callbacks, waited = null, ...options }: Given = {},
) {
  const stage = httpStage({ name: "fraud-check", to: "CHECKED", url, undo: true, ...options });
  const ports = {
    ...NO_PORTS,
    httpStages: httpStages([stage], ({ http }) => ({ ...http, secrets, timeoutMs }), callbacks),
  };
  const context = (signal = new AbortController().signal) => ({
    ports,
    runKey: "o1:fraud-check",
    undoKey: "o1:fraud-check:undo",
    now: new Date(),
    attempt: 3,
    waited,
    signal,
  });
  return {
    ports,
    run: (signal?: AbortSignal) => stage.run(order, context(signal)),
    undo: async () => stage.undo?.(order, context()),
  };
}

const DONE = { done: {} };

describe("the request", () => {
  test("names operation, attempt, deadline and records, and of the order what is not personal", async () => {
    const { run, received } = await stageOf((response) => reply(response, 200, DONE), { deadline: 60_000 });
    await run();
    const { id, customerId, reference, currency, total, lines, adjustments, createdAt } = order;
    expect(JSON.parse(received[0]?.body ?? "")).toEqual({
      operation: "run",
      stage: "fraud-check",
      attempt: 3,
      deadline: new Date(createdAt.getTime() + 60_000).toISOString(),
      callback: null,
      waited: null,
      order: {
        id,
        customerId,
        reference,
        currency,
        total,
        lines,
        adjustments,
        createdAt: createdAt.toISOString(),
      },
      records: { reserve: { warehouse: "W1" } },
    });
    expect(received[0]?.headers).toMatchObject({
      "content-type": "application/json",
      "webhook-id": "o1:fraud-check",
      "conveyor-contract": "1",
      "conveyor-timeout-ms": String(PATIENT_MS),
    });
  });

  test("has what the entry asks for, and nothing else", async () => {
    const fields = ["shipTo"] as const;
    const { run, undo, received } = await stageOf((response) => reply(response, 200, DONE), { fields });
    await run();
    await undo();
    expect(received.map(({ body }) => JSON.parse(body))).toMatchObject([
      { operation: "run", deadline: null, order: { id: "o1", shipTo: SHIP_TO } },
      { operation: "undo", order: { id: "o1", shipTo: SHIP_TO } },
    ]);
    expect(Object.keys(JSON.parse(received[0]?.body ?? "").order)).toEqual(["id", "shipTo"]);
    expect(received[1]?.headers["webhook-id"]).toBe("o1:fraud-check:undo");
  });

  test("is signed with each secret over the bytes that are sent, and unsigned without a secret", async () => {
    const secrets = [newSecret(), newSecret()];
    const signed = await stageOf((response) => reply(response, 200, DONE), { secrets });
    await signed.run();
    const [request] = signed.received;
    for (const secret of secrets) {
      const headers = Object.entries(request?.headers ?? {}).map(([name, value]) => [name, String(value)]);
      const verified = new Webhook(secret).verify(request?.body ?? "", Object.fromEntries(headers));
      expect(verified).toMatchObject({ operation: "run" });
    }
    const unsigned = await stageOf((response) => reply(response, 200, DONE));
    await unsigned.run();
    expect(Object.keys(unsigned.received[0]?.headers ?? {})).not.toContain("webhook-signature");
  });

  test("goes to the very address, also with a slash at its end", async () => {
    const paths: (string | undefined)[] = [];
    const server = await startAnswering((response) => {
      paths.push(response.req.url);
      reply(response, 200, DONE);
    });
    servers.push(server);
    await stageAt(`${server.url}/fraud/`).run();
    await stageAt(`${server.url}/fraud?strict=1`).run();
    expect(paths).toEqual(["/fraud/", "/fraud?strict=1"]);
  });
});

describe("the answer to run", () => {
  test.each([
    [
      { done: { score: 0.2, by: "rules", manual: false, note: null } },
      { score: 0.2, by: "rules", manual: false, note: null },
    ],
    [{ reject: "stolen\ncard" }, reject("stolen card")],
    [{ snooze: 1500 }, snooze(1500)],
    // Asked neither in a busy loop nor never.
    [{ snooze: 0 }, snooze(100)],
    [{ snooze: 1e15 }, snooze(86_400_000)],
    [{ done: { half: "\ud800" } }, { half: "\ufffd" }],
    [
      { wait: { for: "an\napproval", until: "2026-11-29T13:00:00+01:00" } },
      wait({ for: "an approval", until: new Date("2026-11-29T12:00:00Z") }),
    ],
  ])("%j is understood", async (body, outcome) => {
    const { run } = await stageOf((response) => reply(response, 200, body));
    expect(await run()).toEqual(outcome);
  });

  const ONE_OF = "must have exactly one of done, reject, snooze and wait, and nothing else";
  const A_VALUE = "must be a text of at most 500 characters, a number, a boolean or null";
  test.each([
    [{}, ONE_OF],
    [{ approved: true }, ONE_OF],
    [{ done: { deep: { er: 1 } } }, `done.deep ${A_VALUE}`],
    [{ done: {}, reject: "both" }, ONE_OF],
    [{ done: { long: "x".repeat(501) } }, `done.long ${A_VALUE}`],
    [
      { done: Object.fromEntries(Array.from({ length: 51 }, (_, i) => [`field${i}`, i])) },
      "done must have at most 50 fields",
    ],
    [{ reject: "" }, "reject must be a text that is not empty"],
    [{ snooze: -1 }, "snooze must be a number of milliseconds"],
    [
      { wait: { for: "approval", until: "2026-11-29T12:00:00" } },
      "wait.until must be a time in ISO 8601 with its zone",
    ],
    [{ wait: { for: " ", until: "2026-11-29T12:00:00Z" } }, "wait.for must say what it waits for"],
    ["no JSON", '"no JSON"'],
  ])("%j is retried as an answer that nobody expects, and its error says why", async (body, why) => {
    const { run } = await stageOf((response) => reply(response, 200, body));
    await expect(run()).rejects.toThrow(/^stage fraud-check answered 200 unexpectedly: /);
    await expect(run()).rejects.toThrow(why);
    await expect(run()).rejects.not.toBeInstanceOf(ServiceUnavailableError);
  });

  test("of more than 64 KiB is not read to its end", async () => {
    const { run } = await stageOf((response) => reply(response, 200, { done: { x: "x".repeat(1e6) } }));
    await expect(run()).rejects.toThrow("more than 65536 bytes");
  });

  test.each([
    [429, "7", 7_000],
    [429, undefined, 5_000],
    [503, "7", 7_000],
  ])("%i with Retry-After %s waits without an attempt", async (status, retryAfter, waitMs) => {
    const headers = retryAfter === undefined ? undefined : { "retry-after": retryAfter };
    const { run, undo } = await stageOf((response) => reply(response, status, undefined, headers));
    for (const call of [run, undo]) {
      const error = await call().then(
        () => undefined,
        (thrown: unknown) => thrown,
      );
      expect(error).toBeInstanceOf(NotNowError);
      expect(error).toMatchObject({ waitMs });
    }
  });

  test.each([408, 500, 502, 503, 504, 507])("%i is an outage until a ping says otherwise", async (status) => {
    const { run } = await stageOf((response) => reply(response, status));
    const error = await run().then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
    expect(error).toBeInstanceOf(ServiceUnavailableError);
    expect(error).not.toBeInstanceOf(ServiceMisconfiguredError);
    expect(error).toMatchObject({ service: "stage fraud-check" });
  });

  test.each([301, 302, 308, 401, 403, 404, 405, 413, 501])(
    "%i: the service is not set up right",
    async (status) => {
      const { run } = await stageOf((response) => reply(response, status, { error: "no such route" }));
      await expect(run()).rejects.toBeInstanceOf(ServiceMisconfiguredError);
      await expect(run()).rejects.toThrow(
        `stage fraud-check answered ${status} unexpectedly: {"error":"no such route"}`,
      );
    },
  );

  test.each([400, 422])("%i rests for a person at once", async (status) => {
    const { run } = await stageOf((response) => reply(response, status, { error: "no such SKU" }));
    await expect(run()).rejects.toBeInstanceOf(RequestRefusedError);
  });

  test.each([402, 409, 418, 424])("%i is retried, and rejects nothing", async (status) => {
    const { run } = await stageOf((response) => reply(response, status, { reject: "declined" }));
    await expect(run()).rejects.toThrow(`answered ${status} unexpectedly`);
    for (const kind of [ServiceUnavailableError, RequestRefusedError, AlreadyUndoneError])
      await expect(run()).rejects.not.toBeInstanceOf(kind);
  });

  test("410: the run came after its undo", async () => {
    const { run } = await stageOf((response) => reply(response, 410));
    await expect(run()).rejects.toBeInstanceOf(AlreadyUndoneError);
  });

  test.each([
    ["for a day", {}, {}, 86_400_000],
    ["until the deadline", {}, { deadline: 3_600_000 }, 3_600_000],
    ["for as long as it says", { "retry-after": "30" }, { deadline: 3_600_000 }, 30_000],
  ])("202 waits for the callback: %s", async (_how, headers, given, waitMs) => {
    const { run } = await stageOf((response) => reply(response, 202, undefined, headers), given);
    const before = Date.now();
    const outcome = await run();
    expect(outcome).toMatchObject({ for: "the service's result" });
    const waits = outcome instanceof Wait ? Number(outcome.until) - before : NaN;
    expect(Math.abs(waits - waitMs)).toBeLessThan(20_000);
  });

  test("that never comes is an outage after the time limit, and nothing once the attempt is aborted", async () => {
    const { run } = await stageOf(() => undefined, { timeoutMs: 200 });
    await expect(run()).rejects.toThrow("stage fraud-check did not answer within 200 ms");
    const reason = new Error("shutting down");
    await expect(run(AbortSignal.abort(reason))).rejects.toBe(reason);
  });

  test("keeps the payment token out of errors and reasons, also where the service repeats it", async () => {
    const fields = ["paymentToken"] as const;
    const { run } = await stageOf((response) => reply(response, 422, { bad: order.paymentToken }), {
      fields,
    });
    await expect(run()).rejects.toThrow('answered 422 unexpectedly: {"bad":"[redacted]"}');
    const rejecting = await stageOf((response) => reply(response, 200, { reject: order.paymentToken }), {
      fields,
    });
    expect(await rejecting.run()).toEqual(reject("[redacted]"));
  });
});

describe("a result that comes by callback", () => {
  const callbacks = (...results: RunAnswer[]): LaterResults => ({
    addressFor: async (orderId, stage) => `http://api/operations/${orderId}-${stage}`,
    take: async () => results.shift(),
  });
  const waited = { for: "x", since: new Date(0), until: new Date(1), isOver: true };

  test("is asked for at an address that is in the run, and not in the undo", async () => {
    const { run, undo, received } = await stageOf((response) => reply(response, 200, DONE), {
      callbacks: callbacks(),
      waited,
    });
    await run();
    await undo();
    expect(received.map(({ body }) => JSON.parse(body))).toMatchObject([
      {
        callback: "http://api/operations/o1-fraud-check",
        waited: {
          for: "x",
          since: "1970-01-01T00:00:00.000Z",
          until: "1970-01-01T00:00:00.001Z",
          over: true,
        },
      },
      { callback: null },
    ]);
  });

  test("is used without a request if the order has waited for it", async () => {
    const { run, received } = await stageOf((response) => reply(response, 202), {
      callbacks: callbacks({ done: { score: 1 } }),
      waited,
    });
    expect(await run()).toEqual({ score: 1 });
    expect(received).toEqual([]);
  });

  test.each([
    ["a 200", (response: ServerResponse) => reply(response, 200, { done: { score: 1 } })],
    ["a 409", (response: ServerResponse) => reply(response, 409)],
    ["a 500", (response: ServerResponse) => reply(response, 500)],
    ["an answer that breaks off", (response: ServerResponse) => void response.destroy()],
  ])("counts before %s that comes after it", async (_what, answer) => {
    const { run } = await stageOf(answer, { callbacks: callbacks({ reject: "stolen card" }) });
    expect(await run()).toEqual(reject("stolen card"));
  });

  test("may overtake the 202", async () => {
    const { run } = await stageOf((response) => reply(response, 202), {
      callbacks: callbacks({ reject: "stolen\ncard" }),
    });
    expect(await run()).toEqual(reject("stolen card"));
  });

  test("does not say what the payment token is", async () => {
    const { run } = await stageOf((response) => reply(response, 202), {
      fields: ["paymentToken"],
      callbacks: callbacks({ reject: order.paymentToken ?? "" }),
    });
    expect(await run()).toEqual(reject("[redacted]"));
  });
});

describe("the answer to undo", () => {
  test.each([
    [200, { done: { voided: true } }, { voided: true }],
    [200, undefined, {}],
    [204, undefined, {}],
    [410, undefined, {}],
  ])("%i %j is understood", async (status, body, record) => {
    const { undo } = await stageOf((response) => reply(response, status, body));
    expect(await undo()).toEqual(record);
  });

  test.each([{ reject: "too late" }, { snooze: 5 }])("%j is retried", async (body) => {
    const { undo } = await stageOf((response) => reply(response, 200, body));
    await expect(undo()).rejects.toThrow("answered 200 unexpectedly");
  });
});

describe("a ping", () => {
  const never = new AbortController().signal;

  test.each([200, 404, 405, 500, 501])("that is answered with %i finds the service up", async (status) => {
    const server = await startAnswering(() => undefined, status);
    servers.push(server);
    await stageAt(server.url).ports.httpStages.ping("fraud-check", never);
  });

  test.each([502, 503, 504])("that is answered with %i, by a gateway, finds it away", async (status) => {
    const server = await startAnswering(() => undefined, status);
    servers.push(server);
    const ping = stageAt(server.url).ports.httpStages.ping("fraud-check", never);
    await expect(ping).rejects.toBeInstanceOf(ServiceUnavailableError);
  });

  test("that nobody answers finds it away", async () => {
    const { ports } = stageAt(`http://127.0.0.1:${await freePort()}`);
    await expect(ports.httpStages.ping("fraud-check", never)).rejects.toThrow("ECONNREFUSED");
  });
});

test("a pipeline with an address or a secret that can't be one is refused, with every fault", () => {
  const stage = (name: string, url: string, secret?: string) =>
    httpStage({ name, to: name.toUpperCase(), url, ...(secret !== undefined && { secret }) });
  const faulty = () =>
    new Lifecycle([
      stage("a", "ftp://x"),
      stage("b", "nowhere"),
      stage("c", "http://user:password@x"),
      stage("d", "http://x", "whsec_short"),
      stage("e", "http://x", `${newSecret()} ${newSecret()}`),
    ]);
  expect(faulty).toThrow(InvalidPipelineError);
  expect(faulty).toThrow(/stage a .*stage b .*stage c .*secret of stage d/);
  expect(faulty).not.toThrow(/password@|whsec_short|stage e/);
});
