import { createServer, type RequestListener, type Server } from "node:http";
import { afterEach, expect, test } from "@jest/globals";
import { Connection } from "../../../tools/bench/load/connection.ts";
import { run } from "../../../tools/bench/load/run.ts";

let server: Server | undefined;
let connection: Connection | undefined;
afterEach(async () => {
  connection?.close();
  server?.closeAllConnections();
  await new Promise((resolve) => (server ? server.close(resolve) : resolve(undefined)));
});

async function serve(listener: RequestListener): Promise<number> {
  server = createServer(listener);
  await new Promise<void>((resolve) => server?.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  return typeof address === "object" ? (address?.port ?? 0) : 0;
}

async function connected(listener: RequestListener): Promise<(request?: string) => Promise<number>> {
  const opened = new Connection(await serve(listener));
  connection = opened;
  await opened.open();
  const plain = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
  return (request = plain) => new Promise((resolve) => opened.exchange(request, resolve));
}

test("gives the status of every answer, one after the other over one connection", async () => {
  const sockets = new Set<unknown>();
  let status = 200;
  const send = await connected((request, response) => {
    sockets.add(request.socket);
    response.writeHead(status++, { "content-length": 5 }).end("12345");
  });
  expect([await send(), await send(), await send()]).toEqual([200, 201, 202]);
  expect(sockets.size).toBe(1);
});

test("waits for the whole answer, in however many pieces it comes", async () => {
  let ended = false;
  const send = await connected((_request, response) => {
    response.writeHead(202, { "content-length": 10 });
    response.write("12345");
    setTimeout(() => {
      ended = true;
      response.end("67890");
    }, 50);
  });
  expect(await send()).toBe(202);
  expect(ended).toBe(true);
});

test("gives 0 when the server hangs up, and connects again for the next request", async () => {
  let count = 0;
  const send = await connected((request, response) => {
    if (count++ === 0) request.socket.destroy();
    else response.writeHead(202, { "content-length": 0 }).end();
  });
  expect([await send(), await send()]).toEqual([0, 202]);
});

test("connects again after an answer that was the last one on its connection", async () => {
  const send = await connected((_request, response) =>
    response.writeHead(503, { "content-length": 0, connection: "close" }).end(),
  );
  expect([await send(), await send()]).toEqual([503, 503]);
});

const TARGET = { apiKey: "key", seed: 1 };

/** Takes orders, and keeps what was sent. */
async function shop(answer: (count: number) => number) {
  const keys: string[] = [];
  let most = 0;
  let underWay = 0;
  const port = await serve((request, response) => {
    most = Math.max(most, ++underWay);
    let text = "";
    request.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
    request.on("end", () => {
      const count = keys.push(String(request.headers["idempotency-key"]));
      JSON.parse(text);
      setTimeout(() => {
        underWay--;
        response.writeHead(answer(count), { "content-length": 2 }).end("{}");
      }, 2);
    });
  });
  return { port, keys, most: () => most };
}

test("a closed load sends so many orders over so many connections, and counts the answers", async () => {
  const { port, keys, most } = await shop((count) => (count % 10 === 0 ? 503 : 202));
  const result = await run({ kind: "closed", ...TARGET, port, connections: 4, until: { orders: 50 } });
  expect(result.all).toEqual({ 202: 45, 503: 5 });
  expect(result.inTime).toEqual(result.all);
  expect(new Set(keys).size).toBe(50);
  expect(most()).toBe(4);
  expect(result.p50).toBeGreaterThanOrEqual(1.5);
  expect(result.p99).toBeGreaterThanOrEqual(result.p50);
});

test("a closed load ends by the clock, and tells apart what came later", async () => {
  const { port, keys } = await shop(() => 202);
  const result = await run({ kind: "closed", ...TARGET, port, connections: 2, until: { ms: 200 } });
  expect(result.lasted).toBeCloseTo(200, 5);
  expect(result.all[202]).toBe(keys.length);
  expect(result.inTime[202] ?? 0).toBeLessThanOrEqual(keys.length);
});

test("a steady load comes at its own pace, whether or not it is answered", async () => {
  const late: (() => void)[] = [];
  const port = await serve((_request, response) => {
    late.push(() => response.writeHead(202, { "content-length": 0 }).end());
    // Nobody is answered before everybody has come.
    if (late.length === 20) for (const answer of late) answer();
  });
  const result = await run({ kind: "steady", ...TARGET, port, perSecond: 100, ms: 200 });
  expect(result.samples.map(({ at }) => Math.round(at))).toEqual(
    Array.from({ length: 20 }, (_, index) => index * 10),
  );
  expect(result.all).toEqual({ 202: 20 });
  // Whoever came first has waited longest.
  expect(result.samples[0]?.tookMs).toBeGreaterThan(result.samples[19]?.tookMs ?? Infinity);
  expect(result.samples[0]?.tookMs).toBeGreaterThanOrEqual(190);
});
