import * as fc from "fast-check";
import { BEARER } from "../api.ts";
import { goodBody } from "./bodies.ts";
import type { Operation } from "./description.ts";
import { several } from "./operation-attacks.ts";
import type { Attack, RawRequest } from "./request.ts";
import { headerText } from "./values.ts";

const CRLF = "\r\n";
/** Asks for the end of the connection, so that nobody waits for another answer. */
const LAST = `Host: api${CRLF}Connection: close${CRLF}Authorization: ${BEARER.authorization}${CRLF}`;

/** What no client would send: bytes on a socket. Those that hold a good order have it where it must not be read. */
export function rawAttacks(operations: readonly Operation[]): Attack[] {
  const attack = (kind: string, request: fc.Arbitrary<RawRequest>): Attack => ({
    kind,
    target: "socket",
    request,
  });
  const writing = operations.filter((operation) => operation.body !== undefined);
  return [
    attack("garbage", garbage.map(waiting("refused"))),
    ...several(6, () => attack("request line", requestLine.map(waiting("any")))),
    ...several(6, () => attack("header lines", headerLines.map(waiting("any")))),
    attack("header flood", headerFlood.map(waiting("any"))),
    attack("pipeline", pipeline),
    ...operations.map((operation) => attack("cut off", cutOff(operation))),
    ...writing.flatMap((operation) => [
      attack("framing", framing(operation)),
      attack("framing", framing(operation)),
      attack("read in two ways", ambiguous(operation)),
      attack("chunks", chunks(operation)),
    ]),
  ];
}

function waiting(expected: RawRequest["expected"]) {
  return (bytes: string | Uint8Array): RawRequest => ({
    via: "socket",
    pieces: [typeof bytes === "string" ? latin1(bytes) : bytes],
    ending: "wait",
    expected,
  });
}

const garbage = fc.oneof(
  fc
    .uint8Array({ minLength: 4, maxLength: 2_000 })
    .map((bytes) => Buffer.concat([bytes, latin1("\r\n\r\n")])),
  fc.constantFrom(
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03\r\n\r\n",
    "SSH-2.0-OpenSSH_9.6\r\n\r\n",
    "EHLO evil.example\r\n\r\n",
    "*1\r\n$8\r\nFLUSHALL\r\n",
    "\x03\x00\x00\x13\x0e\xe0\x00\x00\x00\x00\x00\x01\x00\x08\x00\x03\x00\x00\x00\r\n\r\n",
    "HTTP/1.1 200 OK\r\n\r\n",
    `${"\0".repeat(500)}\r\n\r\n`,
  ),
);

/** Most of the time, so that what is odd elsewhere is read. */
const ORDINARY = Array.from({ length: 12 }, () => "HTTP/1.1");

const requestLine = fc
  .tuple(
    fc.constantFrom(
      "GET",
      "GET",
      "GET",
      "GET",
      "GET",
      "POST",
      "get",
      "G\0T",
      "GET\t",
      "",
      "FOO",
      "POST,GET",
      "CONNECT",
      "X".repeat(9_000),
      "OPTIONS",
      " GET",
    ),
    fc.oneof(
      fc.constantFrom(
        "/orders",
        "*",
        "",
        "orders",
        "/ orders",
        "/orders\0",
        "/\u00c3\u00a9",
        "/\x7f",
        "\\orders",
        "api:443",
        "http://",
        "http://[",
        "http://a:b:c/orders",
        "http://a:99999999/orders",
        "http://api/orders",
        "https://user:password@api/orders",
        "http://api",
        "ftp://api/orders",
        "javascript:alert(1)",
        "//a:b@[/#x",
        "/#[",
        "/orders?#",
        "?limit=1",
        "#",
      ),
      headerText,
    ),
    fc.constantFrom(...ORDINARY, "HTTP/1.0", "HTTP/9.9", "HTTP/2", "http/1.1", "HTTP/1.1 x", "", "ICE/1.0"),
  )
  .map((parts) => `${parts.join(" ")}${CRLF}${LAST}${CRLF}`);

const headerLines = fc
  .oneof(
    fc.constantFrom(
      "no colon",
      ": no name",
      "name : space",
      "na me: x",
      "na\0me: x",
      "name: a\0b",
      "name: a\rb",
      "name: a\nb: c",
      " folded: x",
      "a: b\r\n c",
      "a: b\r\n\tc",
      "\u00e9: x",
      "(name): x",
      "host: two",
      "host: a, b",
      "host:",
      "host: a\r\nhost: b\r\nhost: c",
      "content-length: 0\r\ncontent-length: 0",
      "transfer-encoding: chunked\r\n\r\n0\r\n",
      "connection: keep-alive\r\nconnection: close",
      "expect: 100-continue\r\nexpect: 100-continue",
      "cookie: a\r\n".repeat(300).trim(),
      "trailer: content-length",
      "proxy-connection: keep-alive",
      "date: never",
      "\x0b: x",
      "a: \x08",
    ),
    headerText.map((text) => `x-odd: ${text}`),
    headerText.map((text) => `${text}: x`),
  )
  .map((line) => `GET /orders?limit=1 HTTP/1.1${CRLF}${LAST}${line}${CRLF}${CRLF}`);

const headerFlood = fc
  .tuple(fc.integer({ min: 100, max: 6_000 }), fc.integer({ min: 1, max: 60 }))
  .map(([count, length]) => {
    const line = `x-flood: ${"f".repeat(length)}${CRLF}`;
    return `GET /orders?limit=1 HTTP/1.1${CRLF}${LAST}${line.repeat(count)}${CRLF}`;
  });

/** Many requests at once, and nobody who reads the answers. */
const pipeline: fc.Arbitrary<RawRequest> = fc
  .tuple(
    fc.integer({ min: 2, max: 40 }),
    fc.constantFrom("/orders?limit=200", "/queues", "/nowhere", "/docs/assets/swagger-ui.css"),
  )
  .map(([count, path]) => ({
    via: "socket",
    pieces: [
      latin1(
        `GET ${path} HTTP/1.1${CRLF}Host: api${CRLF}Authorization: ${BEARER.authorization}${CRLF}${CRLF}`.repeat(
          count,
        ),
      ),
    ],
    ending: "reset",
    expected: "any",
  }));

/** A good request that ends too early, in one piece or in many, in peace or not. */
function cutOff(operation: Operation): fc.Arbitrary<RawRequest> {
  const whole = Buffer.concat([latin1(head(operation, lengthOf(operation))), bytesOf(operation)]);
  return fc
    .tuple(
      fc.nat({ max: whole.length - 2 }),
      fc.integer({ min: 1, max: 12 }),
      fc.constantFrom("end" as const, "reset" as const),
    )
    .map(([end, count, ending]) => {
      // Without a body the last byte is the end of the headers.
      const part = whole.subarray(0, end + 1);
      const size = Math.ceil(part.length / count);
      const pieces = Array.from({ length: Math.ceil(part.length / size) }, (_, index) =>
        part.subarray(index * size, (index + 1) * size),
      );
      return { via: "socket", pieces, ending, expected: "refused" };
    });
}

/** A good body that is framed so that two servers in a row might disagree where it ends. */
function framing(operation: Operation): fc.Arbitrary<RawRequest> {
  const body = bytesOf(operation);
  const { length } = body;
  const chunked = `${length.toString(16)}${CRLF}${body.toString("latin1")}${CRLF}0${CRLF}${CRLF}`;
  const text = body.toString("latin1");
  const good = (headers: string, content: string) => latin1(head(operation, headers) + content);
  return fc
    .constantFrom(
      good(`content-length: ${length}${CRLF}transfer-encoding: chunked${CRLF}`, chunked),
      good(`transfer-encoding: chunked${CRLF}content-length: ${length}${CRLF}`, chunked),
      good(
        `transfer-encoding: chunked${CRLF}content-length: 4${CRLF}`,
        `0${CRLF}${CRLF}${head(operation, lengthOf(operation))}${text}`,
      ),
      good(`content-length: ${length}${CRLF}content-length: ${length + 1}${CRLF}`, `${text} `),
      good(`content-length: ${length}, ${length}${CRLF}`, text),
      good(`content-length: +${length}${CRLF}`, text),
      good(`content-length: -${length}${CRLF}`, text),
      good(`content-length: 0x${length.toString(16)}${CRLF}`, text),
      good(`content-length: ${length}.0${CRLF}`, text),
      good(`content-length: ${length}e0${CRLF}`, text),
      good(`content-length: 99999999999999999999999${CRLF}`, text),
      good(`content-length: ${CRLF}`, text),
      good(`content-length : ${length}${CRLF}`, text),
      good(`content length: ${length}${CRLF}`, text),
      good(`content-length: ${length}\0${CRLF}`, text),
      good(`transfer-encoding: chunked, identity${CRLF}`, chunked),
      good(`transfer-encoding: identity, chunked${CRLF}content-length: ${length}${CRLF}`, text),
      good(`transfer-encoding: xchunked${CRLF}`, chunked),
      good(`transfer-encoding: gzip${CRLF}`, text),
      good(`transfer-encoding : chunked${CRLF}`, chunked),
      good(`transfer-encoding: chunked${CRLF}transfer-encoding: identity${CRLF}`, chunked),
      good(`transfer-encoding:\x0bchunked${CRLF}`, chunked),
      good(`transfer-encoding: "chunked"${CRLF}`, chunked),
      good(`x: y\ncontent-length: ${length}\n`, text),
      // Without a length there is no body: what follows is no request.
      good("", text),
    )
    .map(waiting("refused"));
}

/** A good request that a proxy, or the next server, would read otherwise than this one. */
function ambiguous(operation: Operation): fc.Arbitrary<RawRequest> {
  const good = (headers: string, path = operation.path) =>
    Buffer.concat([latin1(head({ ...operation, path }, lengthOf(operation) + headers)), bytesOf(operation)]);
  const { path } = operation;
  const repeated = [
    "Host: evil.example",
    "Host: api",
    "Authorization: Bearer another-key-0123456789",
    "Content-Type: text/plain",
    "Content-Type: application/json; charset=utf-16",
  ].map((line) => good(`${line}${CRLF}`));
  const paths = [
    `/${path}`,
    `${path}//`,
    `/.${path}`,
    `${path}/.`,
    `/x/..${path}`,
    `/x/%2E%2e${path}`,
    path.toUpperCase(),
  ];
  return fc
    .constantFrom(
      ...repeated,
      good(`Idempotency-Key: one${CRLF}Idempotency-Key: two${CRLF}`),
      good(`Last-Event-ID: 1${CRLF}Last-Event-ID: 2${CRLF}`),
      good(`Origin: http://a${CRLF}Origin: http://b${CRLF}`),
      ...[...paths, `${path}\\`, `${path}\u00e9`, `\\${path}`].map((each) => good("", each)),
    )
    .map(waiting("refused"));
}

/** A good body in chunks that are not. */
function chunks(operation: Operation): fc.Arbitrary<RawRequest> {
  const body = bytesOf(operation);
  const text = body.toString("latin1");
  const size = body.length.toString(16);
  const end = `0${CRLF}${CRLF}`;
  return fc
    .oneof(
      fc.constantFrom(
        `zz${CRLF}${text}${CRLF}${end}`,
        `-1${CRLF}${text}${CRLF}${end}`,
        `0x${size}${CRLF}${text}${CRLF}${end}`,
        `${size}${CRLF}${text}${end}`,
        `${size}\n${text}\n0\n\n`,
        ` ${size}${CRLF}${text}${CRLF}${end}`,
        `${CRLF}${size}${CRLF}${text}${CRLF}${end}`,
        `${"f".repeat(17)}${CRLF}${text}`,
        `${size};${"x".repeat(20_000)}${CRLF}${text}${CRLF}${end}`,
        `${size};a="b\n${CRLF}${text}${CRLF}${end}`,
        `1${CRLF}${text}${CRLF}${end}`,
        `${"1;x".repeat(2)}${CRLF}{${CRLF}${end}`,
      ),
      fc
        .integer({ min: 500, max: 3_000 })
        .map((count) => `${`1;${"e".repeat(30)}${CRLF} ${CRLF}`.repeat(count)}${end}`),
      fc
        .integer({ min: 3_000, max: 9_000 })
        .map((count) => `1${CRLF}{${CRLF}0${CRLF}${"t: x\r\n".repeat(count)}${CRLF}`),
    )
    .map((content) => head(operation, `transfer-encoding: chunked${CRLF}`) + content)
    .map(waiting("refused"));
}

function head({ method, path }: Operation, headers: string): string {
  return `${method} ${path} HTTP/1.1${CRLF}${LAST}Content-Type: application/json${CRLF}${headers}${CRLF}`;
}

function lengthOf(operation: Operation): string {
  return operation.body ? `Content-Length: ${bytesOf(operation).length}${CRLF}` : "";
}

function bytesOf({ body }: Operation): Buffer {
  return body ? Buffer.from(goodBody(body).bytes) : Buffer.alloc(0);
}

function latin1(text: string): Buffer {
  return Buffer.from(text, "latin1");
}
