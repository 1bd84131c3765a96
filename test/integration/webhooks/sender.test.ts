import { once } from "node:events";
import { createServer, type Socket } from "node:net";
import { afterEach, describe, expect, test } from "@jest/globals";
import { Networks } from "../../../src/events/webhooks/networks.ts";
import { COLUMN_LENGTHS } from "../../../db/column-lengths.ts";
import { Sender } from "../../../src/events/webhooks/sender.ts";
import { closingServer } from "../../support/closing-server.ts";
import { WebhookReceiver, type Behaviour } from "../../support/webhook-receiver.ts";

const LOOPBACK = new Networks(["127.0.0.0/8"]);
const closing: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).toReversed()) await close();
});

async function receiver(behave?: Behaviour): Promise<WebhookReceiver> {
  const started = await WebhookReceiver.start(behave);
  closing.push(() => started.close());
  return started;
}

function sender(options: Partial<ConstructorParameters<typeof Sender>[0]> = {}): Sender {
  const made = new Sender({ networks: LOOPBACK, timeoutMs: 5_000, ...options });
  closing.push(() => made.close());
  return made;
}

const message = { headers: { "content-type": "application/json", "webhook-id": "7" }, body: '{"a":1}' };

describe("a request", () => {
  test("brings headers and body, and gives status and the beginning of the answer", async () => {
    const endpoint = await receiver((response) => void response.writeHead(201).end("thanks"));
    const answer = await sender().post(endpoint.url, message);
    expect(answer).toMatchObject({ status: 201, error: null, response: "thanks" });
    expect(endpoint.received).toMatchObject([{ body: message.body, headers: message.headers }]);
  });

  test("follows no redirect", async () => {
    const target = await receiver();
    const endpoint = await receiver(
      (response) => void response.writeHead(307, { location: target.url }).end(),
    );
    expect(await sender().post(endpoint.url, message)).toMatchObject({ status: 307 });
    expect(target.received).toEqual([]);
  });

  test("is given up when there is no answer in time, or none that ends", async () => {
    const silent = await receiver(() => undefined);
    const endless = await receiver((response) => void response.writeHead(200).write("still "));
    const hasty = sender({ timeoutMs: 300 });
    expect(await hasty.post(silent.url, message)).toMatchObject({
      status: null,
      error: "no answer within 300 ms",
    });
    // What counts is the status, and that is known.
    expect(await hasty.post(endless.url, message)).toMatchObject({ status: 200, response: "still " });
  });

  test("reads no more of an answer than is kept of it", async () => {
    let written = 0;
    const endpoint = await receiver((response) => {
      response.writeHead(200);
      const more = () => {
        while (!response.destroyed && response.write("ü".repeat(10_000))) written += 20_000;
      };
      response.on("drain", more);
      more();
    });
    const { status, response } = await sender().post(endpoint.url, message);
    expect({ status, response }).toEqual({
      status: 200,
      response: "ü".repeat(COLUMN_LENGTHS.webhookResponse),
    });
    expect(written).toBeLessThan(20_000_000);
  });

  test("tells what an endpoint asks for by Retry-After", async () => {
    const endpoint = await receiver((response) => void response.writeHead(503, { "retry-after": "7" }).end());
    expect(await sender().post(endpoint.url, message)).toMatchObject({ status: 503, retryAfterMs: 7_000 });
  });

  test("to nobody says why there was no answer", async () => {
    const gone = await WebhookReceiver.start();
    const { url } = gone;
    await gone.close();
    expect(await sender().post(url, message)).toMatchObject({
      status: null,
      error: expect.stringContaining("ECONNREFUSED"),
    });
  });
});

describe("a connection that is used again", () => {
  test.each([
    ["reset", (socket: Socket) => void socket.resetAndDestroy()],
    ["closed", (socket: Socket) => void socket.end()],
  ])("and was %s meanwhile costs no attempt: the message is sent again over a new one", async (_, then) => {
    const { url, seen, close } = await closingServer(then);
    closing.push(close);
    const one = sender();
    expect(await one.post(url, message)).toMatchObject({ status: 204 });
    expect(await one.post(url, message)).toMatchObject({ status: 204, error: null });
    expect(seen).toEqual(["1 answered", "1 closed", "2 answered"]);
  });

  test("and was closed in the middle of an answer costs one: it may have done its work", async () => {
    const { url, seen, close } = await closingServer((socket) => void socket.end("HTTP/1.1 2"));
    closing.push(close);
    const one = sender();
    expect(await one.post(url, message)).toMatchObject({ status: 204 });
    expect(await one.post(url, message)).toMatchObject({ status: null });
    expect(seen).toEqual(["1 answered", "1 closed"]);
  });
});

describe("an endpoint that breaks off", () => {
  /** Writes this as soon as somebody connects, or when it has got the request; then leaves the connection as it is. */
  async function raw(text: string, { at = "data", end = false } = {}): Promise<string> {
    const server = createServer((socket) => {
      const answer = () => void (end ? socket.end(text) : socket.write(text));
      socket.on("error", () => undefined);
      if (at === "connection") answer();
      else socket.once("data", answer);
      sockets.add(socket);
    });
    const sockets = new Set<Socket>();
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    closing.push(() => {
      for (const socket of sockets) socket.destroy();
      server.close();
    });
    const address = server.address();
    if (typeof address !== "object" || address === null) throw new Error("the server does not listen");
    return `http://127.0.0.1:${address.port}/hook`;
  }
  const SWITCH = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
  const NO_ANSWER = "no answer within 400 ms";

  test.each([
    ["101 Switching Protocols", SWITCH, {}, { status: 101, error: null, response: "" }],
    ["101 and closes", SWITCH, { end: true }, { status: 101, error: null, response: "" }],
    [
      "nothing, and closes",
      "",
      { end: true },
      { status: null, error: expect.stringContaining("socket hang up") },
    ],
    ["half a head, and is silent", "HTTP/1.1 200 OK\r\nCont", {}, { status: null, error: NO_ANSWER }],
    ["half a head, and closes", "HTTP/1.1 200 OK\r\nCont", { end: true }, { status: null }],
    [
      "a body that hangs",
      "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc",
      {},
      { status: 200, response: "abc" },
    ],
    [
      "half a body, and closes",
      "HTTP/1.1 500 No\r\nContent-Length: 9\r\n\r\nabc",
      { end: true },
      { status: 500 },
    ],
    ["100, and then nothing", "HTTP/1.1 100 Continue\r\n\r\n", {}, { status: null, error: NO_ANSWER }],
    ["103, and then nothing", "HTTP/1.1 103 Early Hints\r\n\r\n", {}, { status: null, error: NO_ANSWER }],
    ["103, and then 204", "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 204 Done\r\n\r\n", {}, { status: 204 }],
    [
      "before it is asked",
      "HTTP/1.1 413 No\r\nConnection: close\r\n\r\n",
      { at: "connection", end: true },
      {},
    ],
    ["a huge head", `HTTP/1.1 200 OK\r\nX: ${"x".repeat(100_000)}\r\n\r\n`, {}, { status: null }],
    ["no HTTP", "SSH-2.0-OpenSSH_9.2\r\n", {}, { status: null }],
  ])("with %s is done with in time", async (_, text, how, expected) => {
    const url = await raw(text, how);
    const answer = await sender({ timeoutMs: 400 }).post(url, message);
    expect(answer).toMatchObject(expected);
    expect(answer.durationMs).toBeLessThan(2_000);
  });

  test("is not waited for when the sender gives up", async () => {
    const url = await raw("HTTP/1.1 100 Continue\r\n\r\n");
    const giveUp = new AbortController();
    const answer = sender({ timeoutMs: 60_000 }).post(url, message, giveUp.signal);
    giveUp.abort();
    expect(await answer).toMatchObject({ status: null });
  });
});

describe("private addresses", () => {
  test.each([
    "http://127.0.0.1:PORT",
    "http://[::ffff:127.0.0.1]:PORT",
    "http://127.1:PORT",
    "http://localhost:PORT",
  ])("%s is refused without a connection", async (address) => {
    const endpoint = await receiver();
    const strict = sender({ networks: new Networks() });
    expect(await strict.post(address.replace("PORT", String(endpoint.port)), message)).toMatchObject({
      status: null,
      error: expect.stringContaining("private"),
    });
    expect(endpoint.received).toEqual([]);
  });

  test("behind a name are refused, also beside public ones", async () => {
    const endpoint = await receiver();
    const url = `http://hooks.example:${endpoint.port}`;
    const strict = sender({
      networks: new Networks(),
      resolve: async () => ["127.0.0.1", "::1", "10.0.0.1"],
    });
    expect(await strict.post(url, message)).toMatchObject({
      status: null,
      error: expect.stringContaining("private"),
    });
    // Of several addresses only those that are allowed are tried.
    const mixed = sender({ resolve: async () => ["10.255.255.1", "127.0.0.1", "::1"] });
    expect(await mixed.post(url, message)).toMatchObject({ status: 204 });
    expect(endpoint.received).toHaveLength(1);
  });

  test("can't be got at by a name that leads elsewhere the second time it is asked for", async () => {
    const endpoint = await receiver(
      (response) => void response.writeHead(204, { connection: "close" }).end(),
    );
    const asked: string[] = [];
    const answers = ["127.0.0.1", "127.0.0.2"];
    // Allowed is only the first: whoever checked one answer and connected to another would get through.
    const rebinding = sender({
      networks: new Networks(["127.0.0.1/32"]),
      resolve: async (name) => {
        asked.push(name);
        return [answers[Math.min(asked.length, answers.length) - 1] ?? ""];
      },
    });
    const url = `http://rebind.example:${endpoint.port}`;
    expect(await rebinding.post(url, message)).toMatchObject({ status: 204 });
    expect(asked).toHaveLength(1);
    expect(await rebinding.post(url, message)).toMatchObject({
      status: null,
      error: expect.stringContaining("private"),
    });
    expect(endpoint.received).toHaveLength(1);
  });

  test("a name that is not known is no address", async () => {
    const unknown = sender({
      resolve: () => Promise.reject(new Error("queryA ENOTFOUND nowhere.example")),
    });
    expect(await unknown.post("http://nowhere.example", message)).toMatchObject({
      status: null,
      error: "queryA ENOTFOUND nowhere.example",
    });
  });
});
