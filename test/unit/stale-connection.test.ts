import { createServer } from "node:http";
import type { Socket } from "node:net";
import { afterEach, describe, expect, test } from "@jest/globals";
import { listen } from "../../src/platform/listen.ts";
import { NotNowError } from "../../src/order/ports.ts";
import { httpCarrier } from "../../src/providers/http/carrier.ts";
import { httpPayments } from "../../src/providers/http/payments.ts";
import { stripePayments } from "../../src/providers/stripe.ts";
import { waitFor } from "../support/wait-for.ts";
import { closingServer } from "../support/closing-server.ts";

const PAID = JSON.stringify({ done: { chargeId: "ch_1" } });
const CHARGED = `200 OK\r\ncontent-type: application/json\r\ncontent-length: ${PAID.length}\r\n\r\n${PAID}`;
const DONE = JSON.stringify({ done: { trackingNumber: "CV1" } });
const ANSWER = `200 OK\r\ncontent-type: application/json\r\ncontent-length: ${DONE.length}\r\n\r\n${DONE}`;
const FAILED = "could not be reached: UND_ERR_SOCKET";

const charge = () => ({
  orderId: "o1",
  reference: "o1:pay",
  id: null,
  key: "o1:pay",
  amount: 100,
  currency: "EUR",
  capture: "at once" as const,
  token: null,
  description: "Order o1",
  customer: { id: "c1" },
  shipTo: null,
  metadata: null,
  remember: async () => undefined,
  signal: new AbortController().signal,
});

const label = () => ({
  orderId: "o1",
  reference: "o1:ship",
  carrierId: "o1:ship",
  to: null,
  parcel: null,
  items: [],
  currency: "EUR",
  service: null,
  from: null,
  signal: new AbortController().signal,
});

const closing: (() => void)[] = [];
afterEach(() => {
  for (const close of closing.splice(0)) close();
});

async function carrierAt(then: (socket: Socket) => void) {
  const { url, seen, close } = await closingServer(then, ANSWER);
  closing.push(close);
  const carrier = httpCarrier({ url, timeoutMs: 10_000 });
  const ask = () => carrier.buy(label());
  return { ask, seen };
}

/** Asks until a connection was taken again, and closed. It takes a moment until one can be taken. */
async function untilClosed(ask: () => Promise<unknown>, seen: readonly string[]): Promise<void> {
  await waitFor("a connection that was closed", async () => {
    await ask();
    return seen.some((each) => each.endsWith("closed"));
  });
}

describe("a provider that closes a connection between two calls", () => {
  test.each([
    ["reset", (socket: Socket) => void socket.resetAndDestroy()],
    ["closed", (socket: Socket) => void socket.end()],
  ])("costs no attempt, and gets the call over another one: %s", async (_what, then) => {
    const { ask, seen } = await carrierAt(then);
    await untilClosed(ask, seen);
  });

  test("costs none where many connections were kept, either", async () => {
    const { ask, seen } = await carrierAt((socket) => void socket.resetAndDestroy());
    await Promise.all([ask(), ask(), ask(), ask()]);
    await Promise.all([ask(), ask(), ask(), ask()]);
    expect(seen.filter((each) => each.endsWith("answered"))).toHaveLength(8);
  });

  test("costs none for a payment, which is not asked for again before it was looked up", async () => {
    const { url, seen, close } = await closingServer((socket) => void socket.end(), CHARGED);
    closing.push(close);
    const payments = httpPayments({ url, timeoutMs: 10_000 });
    const failed = await untilClosed(() => payments.authorize(charge()), seen).catch(
      (error: unknown) => error,
    );
    expect(failed).toBeInstanceOf(NotNowError);
    expect(seen.at(-1)).toMatch("closed");
  });

  test("costs one if some of an answer had come", async () => {
    const { ask, seen } = await carrierAt((socket) => void socket.end("HTTP/1.1 2"));
    await expect(untilClosed(ask, seen)).rejects.toThrow(FAILED);
    expect(seen.filter((each) => each.endsWith("closed"))).toHaveLength(1);
  });

  test("costs one if the call may have been worked on for long", async () => {
    const { ask, seen } = await carrierAt((socket) => void setTimeout(() => socket.end(), 1_100));
    await expect(untilClosed(ask, seen)).rejects.toThrow(FAILED);
  });

  test("costs one if the connection was a new one", async () => {
    let calls = 0;
    const server = createServer(({ socket }) => {
      calls++;
      socket.end();
    });
    closing.push(() => server.close());
    const address = new URL(await listen(server, { port: 0, host: "127.0.0.1", variable: "PORT" }));
    const carrier = httpCarrier({ url: address.href });
    await expect(carrier.buy(label())).rejects.toThrow(FAILED);
    expect(calls).toBe(1);
  });

  test("costs none at Stripe", async () => {
    const body = JSON.stringify({ object: "balance" });
    const { url, seen, close } = await closingServer(
      (socket) => void socket.end(),
      `200 OK\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
    );
    closing.push(close);
    const stripe = stripePayments({ secretKey: "sk_test_1", webhookSecrets: [], url, timeoutMs: 10_000 });
    await untilClosed(() => stripe.ping(new AbortController().signal), seen);
  });
});
