import { createConnection } from "node:net";
import { text } from "node:stream/consumers";
import { brotliCompressSync, deflateSync, gzipSync } from "node:zlib";
import { afterAll, describe, expect, test } from "@jest/globals";
import { API_LIMITS } from "../../../src/api/limits.ts";
import { BEARER, useApi } from "../../support/api.ts";
import { PLAIN_ORDER, type Answer } from "../../support/client.ts";

const api = useApi();

const ORDER = { ...PLAIN_ORDER, paymentToken: "tok_secret_4711" };
const BODY = JSON.stringify(ORDER);
const JSON_TYPE = { "content-type": "application/json" };

function send(body: string | Uint8Array | undefined, headers: Record<string, string>): Promise<Answer> {
  return api.client.raw("POST", "/orders", {
    headers: { ...BEARER, ...headers },
    ...(body !== undefined && { body }),
  });
}

function expectProblem(answer: Answer, status: number, type: string): void {
  expect(answer.status).toBe(status);
  expect(answer.headers.get("content-type")).toContain("application/problem+json");
  expect(answer.body).toMatchObject({ type: `urn:conveyor:problem:${type}`, status });
  expect(answer.body.title).toEqual(expect.any(String));
  expect(JSON.stringify(answer.body)).not.toContain("tok_secret");
}

/** A body that is accepted, and has exactly so many bytes. */
function padded(bytes: number): string {
  return BODY.replace(/\}$/, `${" ".repeat(bytes - BODY.length)}}`);
}

/** Writes to the connection what no client would, closes this side of it, and gives all that comes back. */
function overSocket(headers: string, body = ""): Promise<string> {
  const { hostname, port } = new URL(api.client.url);
  const socket = createConnection({ host: hostname, port: Number(port) });
  const key = `authorization: ${BEARER.authorization}\r\ncontent-type: application/json\r\n`;
  socket.end(`POST /orders HTTP/1.1\r\nhost: api\r\n${key}${headers}\r\n${body}`);
  return text(socket);
}

afterAll(() => {
  expect(api.process.lines.join("\n")).not.toContain("tok_secret");
});

describe("the type of a body", () => {
  test.each([
    "application/json",
    "application/json; charset=utf-8",
    'Application/JSON; Charset="UTF-8"',
    "application/json;odata=verbose",
    "application/vnd.shop.order+json",
  ])("may be %s", async (type) => {
    expect((await send(BODY, { "content-type": type })).status).toBe(202);
  });

  test.each([
    "text/plain",
    "text/json",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=x",
    "application/xml",
    "application/jsonp",
    "json",
    "application/json; charset=latin1",
    "application/json; charset=nonsense",
  ])("may not be %s", async (type) => {
    expectProblem(await send(BODY, { "content-type": type }), 415, "unsupported-media-type");
  });

  test("must be given", async () => {
    expectProblem(await send(BODY, {}), 415, "unsupported-media-type");
  });
});

describe("the encoding of a body", () => {
  test.each([
    ["gzip", gzipSync(BODY)],
    ["deflate", deflateSync(BODY)],
    ["br", brotliCompressSync(BODY)],
    ["identity", Buffer.from(BODY)],
  ])("may be %s", async (encoding, body) => {
    expect((await send(body, { ...JSON_TYPE, "content-encoding": encoding })).status).toBe(202);
  });

  test.each(["zip", "gzip, gzip", "x"])("may not be %s", async (encoding) => {
    expectProblem(
      await send(BODY, { ...JSON_TYPE, "content-encoding": encoding }),
      415,
      "unsupported-media-type",
    );
  });

  test.each([
    ["gzip that is none", Buffer.from(BODY)],
    ["gzip that is cut off", gzipSync(BODY).subarray(0, -12)],
  ])("%s is refused", async (_, body) => {
    expectProblem(await send(body, { ...JSON_TYPE, "content-encoding": "gzip" }), 400, "malformed-request");
  });

  test("gzip does not get more past the limit", async () => {
    const bomb = gzipSync(Buffer.alloc(50 * 1024 * 1024, " "));
    expectProblem(await send(bomb, { ...JSON_TYPE, "content-encoding": "gzip" }), 413, "body-too-large");
  });
});

describe("the size of a body", () => {
  test("may be the limit", async () => {
    expect((await send(padded(API_LIMITS.bodyBytes), JSON_TYPE)).status).toBe(202);
  });

  test.each([
    ["one byte more", {}],
    ["one byte more, of unknown length", { "transfer-encoding": "chunked" }],
  ])("may not be %s", async (_, headers) => {
    const answer = await send(padded(API_LIMITS.bodyBytes + 1), { ...JSON_TYPE, ...headers });
    expectProblem(answer, 413, "body-too-large");
    expect(answer.body.detail).toBe(`at most ${API_LIMITS.bodyBytes} bytes`);
  });

  test("may not be far more", async () => {
    expectProblem(await send(padded(20 * API_LIMITS.bodyBytes), JSON_TYPE), 413, "body-too-large");
  });
});

describe("a body that cannot be read", () => {
  test.each([
    ["text", "tok_secret_4711"],
    ["JSON that is cut off", BODY.slice(0, -5)],
    ["two orders", BODY + BODY],
    ["a comma too many", BODY.replace(/\}$/, ",}")],
    ["single quotes", BODY.replaceAll('"', "'")],
    ["a comment", `/* tok_secret */${BODY}`],
    ["NaN", BODY.replace("1250", "NaN")],
    ["Infinity", BODY.replace("1250", "-Infinity")],
    ["a number with a leading zero", BODY.replace("1250", "01250")],
    ["a hexadecimal number", BODY.replace("1250", "0x4e2")],
    ["a raw line feed in a text", BODY.replace("4711", "\n")],
    ["a space", " "],
    ["brackets, as deep as a body may be", "[".repeat(API_LIMITS.bodyBytes)],
  ])("%s", async (_, body) => {
    expectProblem(await send(body, JSON_TYPE), 400, "malformed-request");
  });

  test.each([
    ["a stray byte", [0xff]],
    ["half of a character", [0xf0, 0x9f]],
    ["half of a UTF-16 pair, as CESU-8 has it", [0xed, 0xa0, 0xbd]],
    ["a NUL in more bytes than it needs", [0xc0, 0x80]],
  ])("%s is not UTF-8", async (_, bytes) => {
    const [before, after] = BODY.split("4711");
    const body = Buffer.concat([Buffer.from(before!), Buffer.from(bytes), Buffer.from(after!)]);
    const answer = await send(body, JSON_TYPE);
    expectProblem(answer, 400, "malformed-request");
    expect(answer.body.detail).toBe("the body is not UTF-8");
  });
});

test("an empty body lacks every field", async () => {
  const answer = await send("", { ...JSON_TYPE, "content-length": "0" });
  expectProblem(answer, 422, "invalid-input");
  expect(answer.body.errors?.map((error) => error.path)).toEqual(["currency", "lines", "customerId"]);
});

test("a request without any body is told what to send", async () => {
  const answer = await overSocket("");
  expect(answer).toMatch(/^HTTP\/1.1 400 /);
  expect(answer).toContain("send a JSON body with Content-Type: application/json");
});

test("a body that ends before its length is no order", async () => {
  const body = JSON.stringify({ ...ORDER, reference: "cut-off" });
  expect(await overSocket(`content-length: ${body.length + 1}\r\n`, body)).not.toContain(" 202 ");
  expect((await api.client.get("/orders?reference=cut-off")).body.items).toEqual([]);
});

describe("a path", () => {
  test.each([
    "/orders/%E0%A4%A",
    "/orders/%",
    "/orders/%zz/events",
    "/stock/%ff",
    "/stock/%C0%80",
    "/docs/assets/..%2f..%2f..%2fpackage.json",
  ])("with a bad percent encoding, or one that others would read otherwise, is refused: %s", async (path) => {
    expectProblem(await api.client.raw("GET", path, { headers: BEARER }), 400, "malformed-request");
  });

  test.each([
    "/",
    "/order",
    "/orders/a/b",
    "/stock/a/b",
    "/health",
    "/health/live/x",
    "/docs/assets/nothing.js",
    "/docs/assets/%zz",
    "/queues/static/%E0%A4%A",
    "/queues/api/nothing",
    "/favicon.ico",
    "/%00",
  ])("that leads nowhere: %s", async (path) => {
    expectProblem(await api.client.raw("GET", path, { headers: BEARER }), 404, "not-found");
  });
});

describe("a method", () => {
  test.each([
    ["DELETE", "/orders", "GET, HEAD, POST"],
    ["PUT", "/orders", "GET, HEAD, POST"],
    ["OPTIONS", "/orders", "GET, HEAD, POST"],
    ["TRACE", "/orders", "GET, HEAD, POST"],
    ["POST", "/orders/x", "GET, HEAD, PATCH"],
    ["DELETE", "/orders/x", "GET, HEAD, PATCH"],
    ["POST", "/orders/x/events", "GET, HEAD"],
    ["GET", "/orders/x/cancel", "POST"],
    ["DELETE", "/stock", "GET, HEAD, POST"],
    ["PUT", "/stock", "GET, HEAD, POST"],
    ["POST", "/stock/A", "GET, HEAD, PUT"],
    ["PATCH", "/stock/A", "GET, HEAD, PUT"],
    ["POST", "/health/live", "GET, HEAD"],
    ["DELETE", "/health/ready", "GET, HEAD"],
    ["POST", "/openapi.json", "GET, HEAD"],
    ["PUT", "/docs", "GET, HEAD"],
    ["PURGE", "/docs/start.js", "GET, HEAD"],
  ])("%s is not allowed on %s", async (method, path, allow) => {
    const answer = await api.client.raw(method, path, { headers: BEARER });
    expect(answer.status).toBe(405);
    expect(answer.headers.get("allow")).toBe(allow);
    if (method !== "HEAD") {
      expectProblem(answer, 405, "method-not-allowed");
      expect(answer.body.detail).toBe(`${method} is not allowed here; ${allow} would be`);
    }
  });

  test("HEAD answers like GET, without a body", async () => {
    const { id } = await api.client.order(PLAIN_ORDER);
    for (const path of ["/orders", `/orders/${id}`, `/orders/${id}/events`]) {
      const got = await api.client.raw("GET", path, { headers: BEARER });
      const head = await api.client.raw("HEAD", path, { headers: BEARER });
      expect(head).toMatchObject({ status: 200, body: "" });
      expect(head.headers.get("content-length")).toBe(got.headers.get("content-length"));
    }
  });
});

test("nothing that a client did wrong counts as the service's fault", () => {
  expect(api.process.logs().filter((line) => line["level"] !== "info")).toEqual([]);
});
