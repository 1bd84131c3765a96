import { getEventListeners } from "node:events";
import { createServer, type IncomingMessage, type RequestListener, type ServerResponse } from "node:http";
import { createServer as createTcpServer, type Server, type Socket } from "node:net";
import { text } from "node:stream/consumers";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "@jest/globals";
import { Webhook } from "standardwebhooks";
import { newSecret } from "../../../src/events/webhooks/signature.ts";
import { freePort } from "../../../tools/launcher/ports.ts";
import { startProviders, type Fault, type Providers } from "../../../tools/simulators/providers.ts";
import { loadConfig, PROCESSES } from "../../../src/composition/config.ts";
import {
  AlreadyUndoneError,
  RequestRefusedError,
  ServiceMisconfiguredError,
  ServiceUnavailableError,
} from "../../../src/order/ports.ts";
import { httpCarrier } from "../../../src/providers/http/carrier.ts";
import { httpInventory } from "../../../src/providers/http/inventory.ts";
import { httpPayments } from "../../../src/providers/http/payments.ts";
import { COMMITS } from "../../../src/platform/group-commit.ts";
import { connectProviders } from "../../../src/composition/providers.ts";
import { createTestEnvironment, type TestEnvironment } from "../../support/environment.ts";
import { waitFor } from "../../support/wait-for.ts";

const FOR_EVER_MS = 3_600_000;
/** An answer that comes is in time for it, however busy the machine is. */
const PATIENT_MS = 30_000;
/** For what is not answered; a call arrives in this time. */
const HASTY_MS = 1_000;
const TOKEN = 'tok_"secret"';

const closing: (() => Promise<void>)[] = [];
afterEach(async () => void (await Promise.all(closing.splice(0).map((close) => close()))));

/** Nobody aborts it. Of its own for every call, as in a worker. */
const patience = () => new AbortController().signal;

const PAYMENT = { reference: "o1:pay", orderId: "o1", id: null, amount: 2500, currency: "EUR" };
const CHARGE = {
  ...PAYMENT,
  key: "o1:pay",
  token: TOKEN,
  capture: "at once" as const,
  description: "Order o1",
  customer: { id: "c1" },
  metadata: null,
  shipTo: null,
  remember: async () => undefined,
};
const REFUND = { ...PAYMENT, key: "o1:pay:undo" };
const PARCEL = { orderId: "o1", reference: "o1:ship", carrierId: null };
const LABEL = {
  ...PARCEL,
  carrierId: "o1:ship",
  to: null,
  parcel: null,
  items: [{ sku: "MUG-BLUE", quantity: 2, unitPrice: 1250 }],
  currency: "EUR",
  service: null,
  from: null,
};
const TRACK = PARCEL;
const STOCK = {
  key: "o1:reserve",
  orderId: "o1",
  lines: [{ sku: "MUG-BLUE", quantity: 2, unitPrice: 1250 }],
};
const VOID = { ...PARCEL, trackingNumber: null };

async function startGateways(options?: { transitMs: number }) {
  const providers = await startProviders(options);
  closing.push(providers.close);
  const { paymentsUrl, carrierUrl } = providers;
  return {
    ...providers,
    payments: httpPayments({ url: paymentsUrl, timeoutMs: PATIENT_MS }),
    hastyPayments: httpPayments({ url: paymentsUrl, timeoutMs: HASTY_MS }),
    carrier: httpCarrier({ url: carrierUrl, timeoutMs: PATIENT_MS }),
  };
}

/** A payment provider and carrier in one that answers whatever the listener says. */
async function startAnswering(listener: RequestListener): Promise<{ url: string; connections: Set<Socket> }> {
  return listen(createServer(listener));
}

async function listen(server: Server): Promise<{ url: string; connections: Set<Socket> }> {
  const connections = new Set<Socket>();
  server.on("connection", (socket) => connections.add(socket));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  closing.push(async () => {
    for (const socket of connections) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
  });
  const bound = server.address();
  if (typeof bound !== "object" || bound === null) throw new Error("a server that listens has a port");
  return { url: `http://127.0.0.1:${bound.port}`, connections };
}

/** The error that a call must end with. */
async function failureOf(call: Promise<unknown>): Promise<Error> {
  return call.then(
    (result) => {
      throw new Error(`did not fail, but gave ${JSON.stringify(result)}`);
    },
    (error: Error) => error,
  );
}

async function expectUnavailable(call: Promise<unknown>, service: string, message: RegExp): Promise<void> {
  const error = await failureOf(call);
  expect(error).toBeInstanceOf(ServiceUnavailableError);
  expect(error).toMatchObject({ service, message: expect.stringMatching(message) });
}

async function expectFault(call: Promise<unknown>, message: RegExp): Promise<Error> {
  const error = await failureOf(call);
  expect(error).not.toBeInstanceOf(ServiceUnavailableError);
  expect(error.message).toMatch(message);
  return error;
}

describe("payments", () => {
  test("charge, once under a key", async () => {
    const { payments, books } = await startGateways();
    const charges = [1, 2].map(() => payments.authorize({ ...CHARGE, signal: patience() }));
    const [first, second] = await Promise.all(charges);
    expect(first).toEqual({ state: "captured", id: books.charges[0]?.chargeId, amount: 2500 });
    expect(second).toEqual(first);
    expect(books.charges).toMatchObject([{ key: CHARGE.key, orderId: "o1", amount: 2500, currency: "EUR" }]);
  });

  test("charge without a token", async () => {
    const { payments, books } = await startGateways();
    expect(await payments.authorize({ ...CHARGE, token: null, signal: patience() })).toMatchObject({
      state: "captured",
    });
    expect(books.charges).toHaveLength(1);
  });

  test("pass on that a charge was declined, and why", async () => {
    const { payments, books } = await startGateways();
    const charge = () => payments.authorize({ ...CHARGE, token: "tok_declined", signal: patience() });
    expect(await charge()).toMatchObject({ state: "declined", reason: "the card was declined" });
    expect(await charge()).toMatchObject({ state: "declined", reason: "the card was declined" });
    expect(books.declines).toHaveLength(1);
  });

  test("refund what was charged, once under a key", async () => {
    const { payments, books } = await startGateways();
    await payments.authorize({ ...CHARGE, signal: patience() });
    const first = await payments.cancel({ ...REFUND, signal: patience() });
    expect(first).toEqual({ state: "cancelled", refundId: books.refunds[0]?.refundId });
    expect(await payments.cancel({ ...REFUND, signal: patience() })).toEqual(first);
    expect(books.refunds).toMatchObject([{ key: REFUND.key, chargeKey: CHARGE.key, amount: 2500 }]);
  });

  test("refund nothing where nothing was charged; a charge that comes later is a fault", async () => {
    const { payments, books } = await startGateways();
    expect(await payments.cancel({ ...REFUND, signal: patience() })).toEqual({ state: "cancelled" });
    const late = await expectFault(
      payments.authorize({ ...CHARGE, signal: patience() }),
      /^payments answered 410.*refunded/,
    );
    expect(late).toBeInstanceOf(AlreadyUndoneError);
    expect(books.charges).toEqual([]);
  });

  test("take a provider that does not answer for one charge only as unavailable, and its health as good", async () => {
    const { payments } = await startGateways();
    const charge = payments.authorize({ ...CHARGE, token: "tok_down", signal: patience() });
    await expectUnavailable(charge, "payments", /^payments answered 503$/);
    await payments.ping(patience());
  });
});

describe("the carrier", () => {
  test("makes a label, once under a key", async () => {
    const { carrier, books } = await startGateways();
    const first = await carrier.buy({ ...LABEL, signal: patience() });
    expect(first).toEqual({
      trackingNumber: books.labels[0]?.trackingNumber,
      carrierId: null,
      service: null,
      cost: null,
      trackingUrl: null,
      labelUrl: null,
    });
    expect(await carrier.buy({ ...LABEL, signal: patience() })).toEqual(first);
    expect(books.labels).toHaveLength(1);
  });

  test("voids a label, as often as it is asked to", async () => {
    const { carrier, books } = await startGateways();
    await carrier.buy({ ...LABEL, signal: patience() });
    await carrier.void({ ...VOID, signal: patience() });
    await carrier.void({ ...VOID, signal: patience() });
    expect(books.labels).toMatchObject([{ key: LABEL.reference, voided: true }]);
  });

  test("makes no label that was called off before", async () => {
    const { carrier, books } = await startGateways();
    await carrier.void({ ...VOID, signal: patience() });
    const late = await expectFault(carrier.buy({ ...LABEL, signal: patience() }), /^carrier answered 410/);
    expect(late).toBeInstanceOf(AlreadyUndoneError);
    expect(books.labels).toEqual([]);
  });

  test("says when to ask again for a parcel on the road", async () => {
    const { carrier } = await startGateways({ transitMs: 60_000 });
    const { trackingNumber } = await carrier.buy({ ...LABEL, signal: patience() });
    const found = await carrier.track({ ...TRACK, trackingNumber, signal: patience() });
    expect(found).toMatchObject({ state: "BOOKED", askAgainIn: expect.any(Number) });
    expect(found.askAgainIn).toBeLessThanOrEqual(60_000);
  });

  test("says when a parcel was delivered", async () => {
    const { carrier, books } = await startGateways({ transitMs: 0 });
    const { trackingNumber } = await carrier.buy({ ...LABEL, signal: patience() });
    expect(await carrier.track({ ...TRACK, trackingNumber, signal: patience() })).toMatchObject({
      state: "DELIVERED",
      at: books.labels[0]?.at,
    });
  });

  test("has unknown parcels taken for a fault", async () => {
    const { carrier } = await startGateways();
    await expectFault(
      carrier.track({ ...TRACK, trackingNumber: "CV1", signal: patience() }),
      /^carrier answered 422/,
    );
  });

  test.each([
    [0, 100],
    [5e12, 24 * 60 * 60 * 1000],
  ])("can't have an order asked for after %p ms", async (snooze, askAgainIn) => {
    const { url } = await startAnswering((_request, response) => json(response, 200, { snooze }));
    const found = await httpCarrier({ url }).track({ ...TRACK, trackingNumber: "CV1", signal: patience() });
    expect(found).toMatchObject({ state: "BOOKED", askAgainIn });
  });

  test("is asked for the very tracking number, whatever is in it", async () => {
    const asked: unknown[] = [];
    const { url } = await startAnswering((request, response) => {
      const note = async () => {
        asked.push(JSON.parse(await text(request)));
        json(response, 200, { done: { deliveredAt: "2026-01-02T03:04:05+01:00" } });
      };
      void note();
    });
    const found = await httpCarrier({ url }).track({
      ...TRACK,
      trackingNumber: "A/../b?c#d e",
      signal: patience(),
    });
    expect(asked).toEqual([{ operation: "track", orderId: "o1", trackingNumber: "A/../b?c#d e" }]);
    expect(found).toMatchObject({ state: "DELIVERED", at: new Date("2026-01-02T02:04:05.000Z") });
  });
});

describe("an inventory of one's own", () => {
  test("says that it has moved the stock, or why not", async () => {
    const answers: object[] = [{ done: {} }, { reject: "sold out: MUG-BLUE" }];
    const { url } = await startAnswering((_request, response) => json(response, 200, answers.shift() ?? {}));
    const inventory = httpInventory({ url });
    const reserve = () => inventory.move("reserve", { ...STOCK, signal: patience() });
    expect(await reserve()).toBe("moved");
    expect(await reserve()).toEqual({ reject: "sold out: MUG-BLUE" });
  });

  test("has released the stock before", async () => {
    const { url } = await startAnswering((_request, response) => response.writeHead(410).end());
    const late = httpInventory({ url }).move("reserve", { ...STOCK, signal: patience() });
    expect(await failureOf(late)).toBeInstanceOf(AlreadyUndoneError);
  });
});

describe("a provider with a fault", () => {
  const NO_CONNECTION = /could not be reached/;
  const TOO_LATE = /^payments did not answer within 1000 ms$/;

  test.each<[Fault, RegExp, { healthy: boolean; charged: boolean }]>([
    [{ kind: "down" }, /^payments answered 503$/, { healthy: false, charged: false }],
    [{ kind: "refuse" }, NO_CONNECTION, { healthy: false, charged: false }],
    [{ kind: "slow", ms: FOR_EVER_MS }, TOO_LATE, { healthy: false, charged: false }],
    [{ kind: "late", ms: FOR_EVER_MS }, TOO_LATE, { healthy: false, charged: true }],
    [{ kind: "errors", rate: 1 }, /^payments answered 500$/, { healthy: true, charged: false }],
    [{ kind: "lost-reply", rate: 1 }, NO_CONNECTION, { healthy: true, charged: true }],
  ])("%j is unavailable, and charges once when it is back", async (fault, message, { healthy, charged }) => {
    const { payments, hastyPayments, carrier, setFault, books } = await startGateways();
    const asked = message === TOO_LATE ? hastyPayments : payments;
    setFault("payments", fault);
    await expectUnavailable(asked.authorize({ ...CHARGE, signal: patience() }), "payments", message);
    expect(books.charges).toHaveLength(charged ? 1 : 0);
    if (healthy) await payments.ping(patience());
    else await expectUnavailable(asked.ping(patience()), "payments", /^payments /);
    await carrier.ping(patience());

    setFault("payments", { kind: "none" });
    expect(await payments.authorize({ ...CHARGE, signal: patience() })).toMatchObject({ state: "captured" });
    expect(books.charges).toHaveLength(1);
  });

  test("refunds the charge whose answer was never heard", async () => {
    const { payments, hastyPayments, setFault, books } = await startGateways();
    setFault("payments", { kind: "late", ms: FOR_EVER_MS });
    await expectUnavailable(hastyPayments.authorize({ ...CHARGE, signal: patience() }), "payments", TOO_LATE);
    setFault("payments", { kind: "none" });
    expect(await payments.cancel({ ...REFUND, signal: patience() })).toEqual({
      state: "cancelled",
      refundId: expect.any(String),
    });
    expect(books.refunds).toHaveLength(1);
  });
});

describe("the caller's signal", () => {
  test("ends a call with its own reason: the service is not to blame", async () => {
    const { payments, setFault, books } = await startGateways();
    setFault("payments", { kind: "slow", ms: FOR_EVER_MS });
    const caller = new AbortController();
    const failed = failureOf(payments.authorize({ ...CHARGE, signal: caller.signal }));
    await waitFor("the call arrives", () => books.attempts.has(CHARGE.key));
    const reason = new Error("the worker is shutting down");
    caller.abort(reason);
    expect(await failed).toBe(reason);
  });

  test("keeps a call from being made once it is aborted", async () => {
    const { payments, books } = await startGateways();
    const reason = new Error("too late");
    const error = await failureOf(payments.authorize({ ...CHARGE, signal: AbortSignal.abort(reason) }));
    expect(error).toBe(reason);
    expect(books.attempts.size).toBe(0);
  });
});

describe("a server that", () => {
  const everyCall = (url: string, timeoutMs?: number) => {
    const address = timeoutMs === undefined ? { url } : { url, timeoutMs };
    const payments = httpPayments(address);
    const carrier = httpCarrier(address);
    const inventory = httpInventory(address);
    return [
      ["inventory", () => inventory.move("reserve", { ...STOCK, signal: patience() })],
      ["inventory", () => inventory.release({ ...STOCK, signal: patience() })],
      ["payments", () => payments.authorize({ ...CHARGE, signal: patience() })],
      ["payments", () => payments.cancel({ ...REFUND, signal: patience() })],
      ["carrier", () => carrier.buy({ ...LABEL, signal: patience() })],
      ["carrier", () => carrier.void({ ...VOID, signal: patience() })],
      ["carrier", () => carrier.track({ ...TRACK, trackingNumber: "CV1", signal: patience() })],
    ] as const;
  };
  const everyPing = (url: string, timeoutMs: number) => [
    ["payments", () => httpPayments({ url, timeoutMs }).ping(patience())] as const,
    ["carrier", () => httpCarrier({ url, timeoutMs }).ping(patience())] as const,
    ["inventory", () => httpInventory({ url, timeoutMs }).ping(patience())] as const,
  ];

  async function expectAway(url: string, message: RegExp, timeoutMs = PATIENT_MS): Promise<void> {
    for (const [service, call] of [...everyCall(url, timeoutMs), ...everyPing(url, timeoutMs)])
      await expectUnavailable(call(), service, message);
  }

  test("is not there is unavailable", async () => {
    await expectAway(`http://127.0.0.1:${await freePort()}`, /could not be reached: ECONNREFUSED$/);
  });

  test("takes connections and is silent is unavailable", async () => {
    const { url } = await listen(createTcpServer());
    await expectAway(url, /did not answer within 100 ms$/, 100);
  });

  test("begins an answer and does not end it is unavailable", async () => {
    const { url } = await startAnswering((_request, response) => {
      response.writeHead(200, { "Content-Type": "application/json", "Content-Length": 1_000 });
      response.write("{");
    });
    await expectAway(url, /did not answer within 100 ms$/, 100);
  });

  test("answers drop by drop has no more time than others", async () => {
    const { url } = await startAnswering((_request, response) => {
      response.writeHead(200);
      const drops = setInterval(() => response.write(" "), 10);
      response.on("close", () => clearInterval(drops));
    });
    await expectAway(url, /did not answer within 100 ms$/, 100);
  });

  test("cuts the connection without an answer is unavailable", async () => {
    const { url } = await startAnswering((request) => request.socket.resetAndDestroy());
    await expectAway(url, /could not be reached: (ECONNRESET|UND_ERR_SOCKET)$/);
  });

  test("cuts the connection within an answer is unavailable", async () => {
    const { url } = await startAnswering((_request, response) => {
      response.writeHead(200, { "Content-Length": 1_000 });
      response.write("{", () => response.destroy());
    });
    await expectAway(url, /could not be reached: UND_ERR_SOCKET$/);
  });

  test("speaks no HTTP is unavailable", async () => {
    const { url } = await listen(createTcpServer((socket) => void socket.end("220 mail.example ESMTP\r\n")));
    await expectAway(url, /could not be reached: HPE_/);
  });

  test.each([408, 500, 502, 503, 504, 599])("answers %p is unavailable", async (status) => {
    const { url } = await startAnswering((_request, response) => json(response, status, { error: TOKEN }));
    for (const [service, call] of everyCall(url))
      await expectUnavailable(call(), service, new RegExp(`^${service} answered ${status}$`));
  });

  test.each([301, 302, 307, 401, 403, 404, 405, 413, 501])(
    "answers %p is not set up right",
    async (status) => {
      const { url } = await startAnswering((_request, response) =>
        json(response, status, { error: "so it is" }),
      );
      for (const [service, call] of everyCall(url)) {
        const error = await failureOf(call());
        expect(error).toBeInstanceOf(ServiceMisconfiguredError);
        expect(error.message).toMatch(new RegExp(`^${service} answered ${status} unexpectedly: .*so it is`));
      }
    },
  );

  test.each([
    [429, {}, 5_000],
    [429, { "Retry-After": "2" }, 2_000],
    [503, { "Retry-After": "2" }, 2_000],
  ])("answers %p with %j is to be called later", async (status, headers, waitMs) => {
    const { url } = await startAnswering((_request, response) => response.writeHead(status, headers).end());
    for (const [, call] of everyCall(url))
      expect(await failureOf(call())).toMatchObject({ name: "NotNowError", waitMs });
  });

  test.each([400, 422])("answers %p can make nothing of the order", async (status) => {
    const { url } = await startAnswering((_request, response) =>
      json(response, status, { error: "so it is" }),
    );
    for (const [service, call] of everyCall(url)) {
      const error = await expectFault(
        call(),
        new RegExp(`^${service} answered ${status} unexpectedly: .*so it is`),
      );
      expect(error).toBeInstanceOf(RequestRefusedError);
    }
  });

  test.each([201, 202, 402, 409, 418])("answers %p is at fault", async (status) => {
    const { url } = await startAnswering((_request, response) =>
      json(response, status, { error: "so it is" }),
    );
    for (const [service, call] of everyCall(url))
      await expectFault(call(), new RegExp(`^${service} answered ${status} unexpectedly: .*so it is`));
  });

  test("answers 410, or nothing, to an undo has undone it", async () => {
    for (const status of [200, 204, 410]) {
      const { url } = await startAnswering((_request, response) => response.writeHead(status).end());
      expect(await httpPayments({ url }).cancel({ ...REFUND, signal: patience() })).toEqual({
        state: "cancelled",
      });
      await httpCarrier({ url }).void({ ...VOID, signal: patience() });
      await httpInventory({ url }).release({ ...STOCK, signal: patience() });
    }
  });

  test.each([
    ["no JSON", "<html>"],
    ["other JSON", "[]"],
    ["no outcome", "{}"],
    ["two outcomes", '{"done":{"chargeId":"ch_1","refundId":"re_1","trackingNumber":"1"},"reject":"no"}'],
    ["a no without a reason", '{"reject":" "}'],
    ["a time to ask again that is past", '{"snooze":-1}'],
  ])("answers 200 with %s is at fault", async (_what, answer) => {
    const { url } = await startAnswering((_request, response) => response.end(answer));
    for (const [service, call] of everyCall(url))
      await expectFault(call(), new RegExp(`^${service} answered 200 unexpectedly`));
  });

  test.each([
    ["no id", {}],
    ["an empty id", { chargeId: "", refundId: "", trackingNumber: "" }],
    ["an id that is too long", { chargeId: "1".repeat(1_000), refundId: "1".repeat(1_000) }],
    [
      "half of a character in an id",
      { chargeId: "ch_\ud83d", refundId: "re_\udc00", trackingNumber: "1\ud83d" },
    ],
    ["a control character in an id", { chargeId: "ch_\0", refundId: "re_\n", trackingNumber: "1\0" }],
    ["a tracking number of dots", { trackingNumber: ".." }],
    ["no date", { deliveredAt: "soon" }],
  ])("is done with %s is at fault", async (_what, done) => {
    const { url } = await startAnswering((_request, response) => json(response, 200, { done }));
    const calls = everyCall(url).filter(([service], index) => service !== "inventory" && index !== 5);
    for (const [service, call] of calls)
      await expectFault(call(), new RegExp(`^${service} answered 200 unexpectedly`));
  });

  test("answers with an id that is not UTF-8 is at fault", async () => {
    const { url } = await startAnswering((_request, response) =>
      response.end(
        Buffer.concat([Buffer.from('{"done":{"chargeId":"ch_'), Buffer.from([0xff]), Buffer.from('"}}')]),
      ),
    );
    const charge = httpPayments({ url }).authorize({ ...CHARGE, signal: patience() });
    await expectFault(charge, /^payments answered 200 unexpectedly: not UTF-8: /);
  });

  test("answers with a byte order mark is at fault, and told so", async () => {
    const { url } = await startAnswering((_request, response) =>
      response.end('\uFEFF{"done":{"chargeId":"ch_1"}}'),
    );
    const charge = httpPayments({ url }).authorize({ ...CHARGE, signal: patience() });
    await expectFault(charge, /^payments answered 200 unexpectedly: a byte order mark, before \{/);
  });

  test("redirects is not followed", async () => {
    const asked: (string | undefined)[] = [];
    const { url } = await startAnswering((request, response) => {
      asked.push(request.url);
      response.writeHead(307, { Location: "/elsewhere" }).end();
    });
    for (const [, call] of everyCall(url)) expect((await failureOf(call())).message).toMatch(/answered 307/);
    await httpPayments({ url }).ping(patience());
    expect(asked).toHaveLength(8);
    expect(asked).not.toContain("/elsewhere");
  });

  test("answers without an end is not heard out", async () => {
    let sent = 0;
    const { url } = await startAnswering((_request, response) => {
      sent = 0;
      response.writeHead(200);
      const more = () => {
        while (!response.destroyed) {
          sent += 16_384;
          if (!response.write(" ".repeat(16_384))) return void response.once("drain", more);
        }
      };
      more();
    });
    for (const [, call] of everyCall(url)) {
      await expectFault(call(), /answered 200.*more than 65536 bytes$/);
      // What is on its way is more than what is read.
      expect(sent).toBeLessThan(32 * 1024 * 1024);
    }
  });

  test("answers more than 64 KiB is at fault, however right it is", async () => {
    const answer = (size: number) => JSON.stringify({ done: { chargeId: "ch_1" } }).padEnd(size);
    let size = 65_536;
    const { url } = await startAnswering((_request, response) => response.end(answer(size)));
    const charge = () => httpPayments({ url }).authorize({ ...CHARGE, signal: patience() });
    expect(await charge()).toEqual({ state: "captured", id: "ch_1", amount: 2500 });
    size++;
    await expectFault(charge(), /answered 200.*more than 65536 bytes$/);
  });

  test.each([200, 204, 404, 405, 500])("answers a ping with %p is up", async (status) => {
    const { url } = await startAnswering((_request, response) => response.writeHead(status).end());
    await httpPayments({ url }).ping(patience());
  });

  test.each([502, 503, 504])("answers a ping with %p is away", async (status) => {
    const { url } = await startAnswering((_request, response) => response.writeHead(status).end());
    const ping = httpPayments({ url }).ping(patience());
    await expectUnavailable(ping, "payments", new RegExp(`^payments answered ${status}$`));
  });

  test("says a name twice is refused, and the name is told", async () => {
    const { url } = await startAnswering((_request, response) => {
      response.end('{"reject":"no money","reject":"no card"}');
    });
    await expectFault(
      httpPayments({ url }).authorize({ ...CHARGE, signal: patience() }),
      /; reject stands twice in its object$/,
    );
  });

  test("repeats the token has it taken out, and is quoted on one short line", async () => {
    const { url } = await startAnswering((_request, response) => {
      response.writeHead(400);
      response.end(
        `bad token ${TOKEN}\r\n\u0000in ${JSON.stringify({ token: TOKEN })} ${"and so on ".repeat(500)}`,
      );
    });
    const error = await expectFault(
      httpPayments({ url }).authorize({ ...CHARGE, signal: patience() }),
      /answered 400/,
    );
    expect(error.message).toContain('bad token [redacted] in {"token":"[redacted]"} and so on');
    expect(`${error.message}${error.stack}`).not.toContain("secret");
    expect(error.message.length).toBeLessThan(300);
  });

  test.each([
    ["in capital letters", TOKEN.toUpperCase()],
    ["encoded for a URL", encodeURIComponent(TOKEN).replaceAll("_", "%5f")],
    ["in base64", Buffer.from(`key:${TOKEN}`).toString("base64")],
  ])("repeats the token %s has it taken out", async (_how, written) => {
    const { url } = await startAnswering((_request, response) =>
      response.writeHead(400).end(`no ${written}!`),
    );
    const error = await expectFault(
      httpPayments({ url }).authorize({ ...CHARGE, signal: patience() }),
      /answered 400 unexpectedly: no \S*\[redacted\]\S*!$/,
    );
    expect(error.message).not.toContain(written);
  });

  test("repeats the token in its reason to decline has it taken out", async () => {
    const { url } = await startAnswering((_request, response) =>
      json(response, 200, { reject: `no such token:\n${TOKEN}${"!".repeat(900)}` }),
    );
    const charge = await httpPayments({ url }).authorize({ ...CHARGE, signal: patience() });
    expect(charge).toEqual({
      state: "declined",
      reason: expect.stringMatching(/^no such token: \[redacted\]!+…$/),
    });
    if (charge.state === "declined") expect(charge.reason).toHaveLength(500);
  });
});

describe("requests", () => {
  test("carry what the protocol says, to the very address, and are signed", async () => {
    const secret = newSecret();
    const received: string[] = [];
    const { url } = await startAnswering((request, response) => {
      const { "webhook-id": key, "content-type": type } = request.headers;
      const note = async () => {
        const body = await text(request);
        received.push([request.method, request.url, key, type, body].join(" "));
        if (request.method === "POST") new Webhook(secret).verify(body, headersOf(request));
        json(response, 500, {});
      };
      note().catch((error: unknown) => received.push(String(error)));
    });
    const secrets = [secret];
    const payments = httpPayments({ url: `${url}/adapters/payments/?v=1`, secrets });
    const carrier = httpCarrier({ url: `${url}/adapters/carrier`, secrets });
    const inventory = httpInventory({ url, secrets });
    await payments.ping(patience());
    await failureOf(payments.authorize({ ...CHARGE, token: null, signal: patience() }));
    await failureOf(payments.cancel({ ...REFUND, signal: patience() }));
    await failureOf(carrier.buy({ ...LABEL, signal: patience() }));
    await failureOf(carrier.void({ ...VOID, signal: patience() }));
    await failureOf(carrier.track({ ...TRACK, trackingNumber: "CV1", signal: patience() }));
    await failureOf(inventory.move("reserve", { ...STOCK, signal: patience() }));
    await failureOf(inventory.release({ ...STOCK, key: "o1:reserve:undo", signal: patience() }));
    const lines = JSON.stringify(STOCK.lines);
    expect(received).toEqual([
      "GET /adapters/payments/?v=1   ",
      `POST /adapters/payments/?v=1 o1:pay application/json {"operation":"charge","orderId":"o1","amount":2500,"currency":"EUR","token":null,"capture":true,"description":"Order o1","customer":{"id":"c1"},"shipTo":null,"metadata":null}`,
      `POST /adapters/payments/?v=1 o1:pay:undo application/json {"operation":"refund","orderId":"o1","chargeKey":"o1:pay"}`,
      `POST /adapters/carrier o1:ship application/json {"operation":"create-label","orderId":"o1","shipTo":null,"parcel":null,"lines":${lines},"currency":"EUR","service":null}`,
      `POST /adapters/carrier o1:ship:undo application/json {"operation":"void-label","orderId":"o1","labelKey":"o1:ship"}`,
      `POST /adapters/carrier o1:ship:track application/json {"operation":"track","orderId":"o1","trackingNumber":"CV1"}`,
      `POST / o1:reserve application/json {"operation":"reserve","orderId":"o1","lines":${lines}}`,
      `POST / o1:reserve:undo application/json {"operation":"release","orderId":"o1","lines":${lines}}`,
    ]);
  });

  test("are sent over connections that are there, whatever was answered before", async () => {
    const statuses = [200, 410, 503, 400, 500];
    let answered = 0;
    const { url, connections } = await startAnswering((_request, response) =>
      json(response, statuses[answered++ % statuses.length] ?? 200, { done: { chargeId: "ch_1" } }),
    );
    const payments = httpPayments({ url });
    for (let call = 0; call < 60; call++)
      await payments.authorize({ ...CHARGE, signal: patience() }).catch(() => undefined);
    expect(answered).toBe(60);
    // fetch may open a second one while the first is still being tidied up.
    expect(connections.size).toBeLessThan(10);
  });
});

test("calls leave no timers behind, and share one listener", async () => {
  const { url } = await startAnswering((_request, response) =>
    json(response, 200, { done: { chargeId: "ch_1" } }),
  );
  const payments = httpPayments({ url, timeoutMs: FOR_EVER_MS });
  const timers = () => process.getActiveResourcesInfo().filter((kind) => kind === "Timeout").length;
  const before = timers();
  const signal = patience();
  for (let call = 0; call < 20; call++) await payments.authorize({ ...CHARGE, signal });
  // Those of connections that are kept.
  expect(timers()).toBeLessThan(before + 10);
  expect(getEventListeners(signal, "abort")).toHaveLength(1);
});

describe("the ports of a worker", () => {
  let environment: TestEnvironment;
  let providers: Providers;
  beforeAll(async () => {
    environment = await createTestEnvironment();
    providers = await startProviders();
  });
  afterAll(async () => {
    await providers.close();
    await environment.close();
  });

  const connect = (variables: Record<string, string>) => {
    const { databaseUrl, redisUrl, database } = environment;
    const servers = { DATABASE_URL: databaseUrl, REDIS_URL: redisUrl };
    const config = loadConfig(PROCESSES.worker, { ...servers, ...variables });
    return connectProviders(config, database, COMMITS.on);
  };

  test("are those of the addresses", async () => {
    const { payments, carrier, inventory } = await connect({
      PAYMENTS_URL: providers.paymentsUrl,
      CARRIER_URL: providers.carrierUrl,
      INVENTORY_URL: providers.inventoryUrl,
    });
    expect(await inventory.move("reserve", { ...STOCK, signal: patience() })).toBe("moved");
    await payments.authorize({ ...CHARGE, key: "b:pay", orderId: "b", signal: patience() });
    await carrier.buy({ ...LABEL, reference: "b:ship", orderId: "b", signal: patience() });
    expect([...providers.books.attempts.keys()]).toEqual(["b:pay", "b:ship"]);
  });

  test("are those of the module, where one is named", async () => {
    const { payments } = await connect({ PROVIDERS_MODULE: "tools/simulators/in-process" });
    const charge = { ...CHARGE, key: "m:pay", orderId: "m", signal: patience() };
    expect(await payments.authorize(charge)).toEqual({ state: "captured", id: "ch_m", amount: 2500 });
    expect(providers.entriesOf("m")).toEqual([]);
  });

  test.each([
    ["tools/simulators/nothing", /^PROVIDERS_MODULE tools\/simulators\/nothing can't be loaded: /],
    ["tools/simulators/ledger", /^PROVIDERS_MODULE tools\/simulators\/ledger has no function as its default/],
  ])("are refused when the module is %s", async (PROVIDERS_MODULE, message) => {
    const error = await failureOf(connect({ PROVIDERS_MODULE }));
    expect(error.name).toBe("StartupError");
    expect(error.message).toMatch(message);
  });

  test("give up before the attempt's time is over", async () => {
    const { url } = await listen(createTcpServer());
    const { payments, carrier } = await connect({
      PAYMENTS_URL: url,
      CARRIER_URL: url,
      STAGE_TIMEOUT_MS: "250",
    });
    await expectUnavailable(
      payments.authorize({ ...CHARGE, signal: patience() }),
      "payments",
      /within 200 ms$/,
    );
    await expectUnavailable(carrier.buy({ ...LABEL, signal: patience() }), "carrier", /within 200 ms$/);
  });
});

function headersOf({ headers }: IncomingMessage): Record<string, string> {
  return Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, String(value)]));
}

function json(response: ServerResponse, status: number, body: object): void {
  response.writeHead(status, { "Content-Type": "application/json" }).end(JSON.stringify(body));
}
