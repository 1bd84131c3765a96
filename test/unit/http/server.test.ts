import { once } from "node:events";
import { createServer, type RequestListener, type ServerResponse } from "node:http";
import { connect, Server, type Socket } from "node:net";
import { text } from "node:stream/consumers";
import { afterEach, beforeEach, describe, expect, jest, test } from "@jest/globals";
import { Connections } from "../../../src/platform/connections.ts";
import { listen } from "../../../src/platform/listen.ts";
import { errorCode } from "../../../tools/shared/failure.ts";
import { waitFor } from "../../support/wait-for.ts";
import { HttpServer, type HttpServerOptions } from "../../../src/api/server.ts";

const ASK = "GET / HTTP/1.1\r\nhost: test\r\n\r\n";

const sockets: Socket[] = [];
afterEach(() => {
  for (const socket of sockets.splice(0)) socket.destroy();
});

async function serve(listener: RequestListener, options?: HttpServerOptions) {
  const server = new HttpServer(listener, options);
  const url = new URL(await server.listen(0, "127.0.0.1"));
  return {
    server,
    connect: async (): Promise<Socket> => {
      const socket = connect({ host: url.hostname, port: Number(url.port) });
      sockets.push(socket);
      await once(socket, "connect");
      return socket;
    },
  };
}

/** A server that answers when the test says so. */
async function serveLater(options?: HttpServerOptions) {
  const waiting: ServerResponse[] = [];
  let arrived = () => {};
  const running = await serve((_request, response) => {
    waiting.push(response);
    arrived();
  }, options);
  return {
    ...running,
    ask: async (socket: Socket): Promise<ServerResponse> => {
      const asked = new Promise<void>((resolve) => (arrived = resolve));
      socket.write(ASK);
      await asked;
      return waiting.pop()!;
    },
  };
}

test("ends connections that ask for nothing: silent ones, kept ones, and ones in the middle of a question", async () => {
  const { server, connect: open } = await serve((_request, response) => response.end("done"));
  const [silent, kept, asking] = [await open(), await open(), await open()];
  kept.write(ASK);
  await once(kept, "data");
  asking.write(ASK.slice(0, 10));

  await server.close();

  expect(await Promise.all([silent, asking].map((socket) => text(socket).catch(() => "")))).toEqual(["", ""]);
});

test("answers what is under way, says that it is the last answer, and then is closed", async () => {
  const { server, connect: open, ask } = await serveLater();
  const socket = await open();
  const received = text(socket);
  const response = await ask(socket);

  const closed = server.close();
  response.end("done");

  expect(await received).toMatch(/^HTTP\/1\.1 200 OK\r\n[^]*connection: close\r\n[^]*done/i);
  await closed;
});

test("ends the connection also when the answer had begun before", async () => {
  const { server, connect: open, ask } = await serveLater();
  const socket = await open();
  const received = text(socket);
  const response = await ask(socket);
  response.write("first");
  await once(socket, "data");

  const closed = server.close();
  response.end("last");

  expect(await received).toContain("last");
  await closed;
});

test("answers both of two questions that came one upon the other", async () => {
  const answered: ServerResponse[] = [];
  let both = () => {};
  const twoCame = new Promise<void>((resolve) => (both = resolve));
  const { server, connect: open } = await serve((_request, response) => {
    answered.push(response);
    if (answered.length === 2) both();
  });
  const socket = await open();
  const received = text(socket);
  socket.write(ASK + ASK);
  await twoCame;

  const closed = server.close();
  answered[0]!.end("one");
  answered[1]!.end("two");

  expect(await received).toMatch(/one[^]*two/);
  await closed;
});

test("says which of two answers is the last one, also when the first had begun before", async () => {
  const answers: ServerResponse[] = [];
  const { server, connect: open } = await serve((_request, response) => answers.push(response));
  const socket = await open();
  const received = text(socket);
  socket.write(ASK + ASK);
  await waitFor("both", () => answers.length === 2);
  answers[0]!.flushHeaders();

  const closed = server.close();
  answers[0]!.end("one");
  answers[1]!.end("two");

  expect(await received).toMatch(/one[^]*connection: close[^]*two/i);
  await closed;
});

test("cuts off what is unfinished when the time has passed that began with its retirement", async () => {
  const warnings: unknown[] = [];
  const log = { warn: (...told: unknown[]) => warnings.push(told) };
  const { server, connect: open, ask } = await serveLater({ closeWithinMs: 600_000, log });
  const socket = await open();
  const ended = text(socket).catch(() => "");
  await ask(socket);
  await server.retire(0);
  const now = performance.now.bind(performance);
  const later = jest.spyOn(performance, "now").mockImplementation(() => now() + 600_000);

  await server.close();
  later.mockRestore();

  expect(await ended).toBe("");
  expect(warnings).toEqual([[{ requests: 1 }, expect.stringMatching(/^requests took too long/)]]);
});

test("answers a question that comes over a kept connection in the moment in which it stops listening", async () => {
  const { server, connect: open } = await serve((_request, response) => response.end("done"));
  const kept = await open();
  kept.write(ASK);
  await once(kept, "data");
  const received = text(kept);
  jest.spyOn(Server.prototype, "close").mockImplementationOnce(function (this: Server, ...given) {
    kept.write(ASK);
    return Server.prototype.close.apply(this, given);
  });

  await server.close();

  expect(await received).toMatch(/connection: close[^]*done/i);
});

test("resets nobody who connects anew after each answer, for as long as it takes connections", async () => {
  const { server, connect: open } = await serve((_request, response) => response.end("done"));
  let answered = 0;
  const ends = Array.from({ length: 30 }, async () => {
    try {
      for (;;) {
        const socket = await open();
        socket.write(ASK);
        if (!/done/.test(await text(socket))) return "cut off";
        answered++;
      }
    } catch (error) {
      return errorCode(error);
    }
  });
  const retired = server.retire(0);
  await waitFor("each to have been answered", () => answered > ends.length);
  await retired;

  await server.close();

  expect(new Set(await Promise.all(ends))).toEqual(new Set(["ECONNREFUSED"]));
});

describe("with as many connections as it may have", () => {
  const warnings: unknown[] = [];
  const options = { mostConnections: 3, log: { warn: (...told: unknown[]) => warnings.push(told) } };
  beforeEach(() => {
    warnings.length = 0;
  });

  test("closes the one that is idle for longest for a new one, and logs it once", async () => {
    const { server, connect: open } = await serve((_request, response) => response.end("done"), options);
    const used = await open();
    const [first, second] = [await open(), await open()];
    used.write(ASK);
    await once(used, "data");
    const ended = Promise.all([first, second].map((socket) => text(socket).catch(() => "")));

    for (const socket of [await open(), await open()]) {
      socket.write(ASK);
      await once(socket, "data");
    }

    expect(await ended).toEqual(["", ""]);
    used.write(ASK);
    await once(used, "data");
    expect(warnings).toEqual([
      [{ connections: 3 }, expect.stringMatching(/^no more connections can be open/)],
    ]);
    await server.close();
  });

  test("closes one whose request is half sent, without a key, for a new one", async () => {
    const { server, connect: open, ask } = await serveLater(options);
    const busy = [await ask(await open()), await ask(await open())];
    const half = await open();
    half.write("POST / HTTP/1.1\r\nhost: test\r\ncontent-length: 9\r\nexpect: 100-continue\r\n\r\n");
    // It has read so much.
    await once(half, "data");
    const ended = text(half).catch(() => "cut off");

    const response = await ask(await open());

    expect(await ended).not.toContain("HTTP/1.1 200");
    for (const each of [response, ...busy]) each.end("done");
    await server.close();
  });

  test("refuses a new one rather than close one whose request is half sent with a key", async () => {
    const connections = new Connections(1, undefined, () => true);
    const server = createServer((request, response) =>
      connections.follow(request.socket, response, () => undefined),
    );
    server.on("connection", (socket) => connections.add(socket));
    const url = new URL(await listen(server, { port: 0, host: "127.0.0.1", variable: "PORT" }));
    const open = () => {
      const socket = connect({ host: url.hostname, port: Number(url.port) });
      sockets.push(socket);
      return socket;
    };
    const half = open();
    half.write("POST / HTTP/1.1\r\nhost: test\r\ncontent-length: 9\r\nexpect: 100-continue\r\n\r\n");
    // It has read so much.
    await once(half, "data");

    expect(await text(open())).toMatch(/^HTTP\/1\.1 503 /);
    connections.destroyAll();
    server.close();
  });

  test("refuses a new one while all are busy", async () => {
    const { server, connect: open, ask } = await serveLater(options);
    const responses = [await ask(await open()), await ask(await open()), await ask(await open())];

    expect(await text(await open())).toMatch(/^HTTP\/1\.1 503 [^]*retry-after: 1\r\n/i);

    for (const response of responses) response.end("done");
    await server.close();
  });
});
