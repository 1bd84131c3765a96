import { once } from "node:events";
import type { RequestListener, ServerResponse } from "node:http";
import { connect, type Socket } from "node:net";
import { text } from "node:stream/consumers";
import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
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

describe("with as many connections as it may have", () => {
  const warnings: unknown[] = [];
  const options = { mostConnections: 3, log: { warn: (...told: unknown[]) => warnings.push(told) } };
  beforeEach(() => {
    warnings.length = 0;
  });

  test("closes the one that is idle for longest for a new one, and logs it once", async () => {
    const { server, connect: open } = await serve((_request, response) => response.end("done"), options);
    const [first, second] = [await open(), await open()];
    const used = await open();
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

  test("refuses a new one while all are busy", async () => {
    const { server, connect: open, ask } = await serveLater(options);
    const responses = [await ask(await open()), await ask(await open()), await ask(await open())];

    expect(await text(await open())).toMatch(/^HTTP\/1\.1 503 [^]*retry-after: 1\r\n/i);

    for (const response of responses) response.end("done");
    await server.close();
  });
});
