import { METHODS } from "node:http";
import * as fc from "fast-check";
import { BASIC, BEARER } from "../api.ts";
import { TEST_KEY } from "../processes.ts";
import {
  asJson,
  goodBody,
  misencoded,
  misshapen,
  mistyped,
  oversized,
  refusedTexts,
  swollen,
  unreadable,
  type SentBody,
} from "./bodies.ts";
import type { Operation } from "./description.ts";
import type { Attack, HttpRequest } from "./request.ts";
import { headerText, nastyQuery, nastySegment } from "./values.ts";

/** Every way to be hostile to an operation. Where it writes, each request has something wrong with it. */
export function operationAttacks(operation: Operation): Attack[] {
  const { method, template, body } = operation;
  const attack = (kind: string, request: fc.Arbitrary<HttpRequest>): Attack => ({
    kind,
    target: `${method} ${template}`,
    request,
  });
  const send = requests(operation);
  const sending = (sent: fc.Arbitrary<SentBody>, more: Partial<HttpRequest> = {}) =>
    sent.map((each) => send.body(each, more));
  /** What can be sent again and again: nothing, or a body that is refused. */
  const harmless = body ? sending(misshapen(body)) : fc.constant(send.plain());

  const attacks = [
    attack("method", otherMethods(operation)),
    attack("headers", fc.tuple(harmless, nastyHeaders).map(withHeaders)),
    ...several(2, () => attack("query", fc.tuple(harmless, nastyQuery(operation.queryNames)).map(withQuery))),
    ...several(4, () => attack("path", fc.tuple(harmless, nastyPath(operation)).map(withPath))),
  ];
  if (!operation.open) {
    const good = body ? send.body(goodBody(body)) : send.plain();
    attacks.push(
      attack(
        "key",
        (operation.takesLogin ? noKey : fc.oneof({ weight: 9, arbitrary: noKey }, loginOnly)).map(
          instead(good),
        ),
      ),
    );
  }
  if (!body) {
    // A body where none is expected.
    const bodies = fc.uint8Array({ minLength: 1, maxLength: 300 }).map(asJson);
    attacks.push(attack("body", sending(bodies, { expected: "any" })));
    return attacks;
  }
  for (const { name, takes } of operation.headers) {
    const bad = headerText.filter((value) => !takes(value.trim()));
    const good = send.body(goodBody(body));
    attacks.push(
      attack(
        "parameter in a header",
        bad.map((value) => withHeaders([good, { [name]: value }])),
      ),
    );
  }
  // Where any text will do, such as the reason to look for, the request is good, and must change nothing.
  const texts = sending(refusedTexts(body), { expected: "any" });
  return [
    ...attacks,
    ...several(3, () => attack("shape", sending(misshapen(body)))),
    ...several(2, () => attack("text", texts)),
    ...several(2, () => attack("not JSON", sending(unreadable(body)))),
    attack("huge shape", sending(swollen(body))),
    attack("media type", sending(mistyped(body))),
    attack("encoding", sending(misencoded(body))),
    attack("size", sending(oversized(body))),
  ];
}

/** Attacks of which a round has more than one. */
export function several(count: number, attack: () => Attack): Attack[] {
  return Array.from({ length: count }, attack);
}

/** Requests to an operation, with a key and all that belongs there. */
function requests({ method, template, path }: Operation) {
  const base = { via: "http", method, path, described: { method, path: template } } as const;
  return {
    plain: (): HttpRequest => ({ ...base, headers: BEARER, expected: "any" }),
    body: ({ bytes, headers, chunked = false }: SentBody, more: Partial<HttpRequest> = {}): HttpRequest => ({
      ...base,
      headers: { ...BEARER, ...headers },
      body: bytes,
      chunked,
      expected: "refused",
      ...more,
    }),
  };
}

export function withQuery([request, query]: [HttpRequest, string]): HttpRequest {
  return { ...request, path: `${request.path}?${query}` };
}

export function withHeaders([request, headers]: [HttpRequest, Record<string, string>]): HttpRequest {
  return { ...request, headers: { ...request.headers, ...headers } };
}

/** It may lead anywhere: what is described there is not known. */
function withPath([{ described: _, ...request }, path]: [HttpRequest, string]): HttpRequest {
  return { ...request, path };
}

/** The request with other headers in the place of its key. */
export function instead(request: HttpRequest): (headers: Record<string, string>) => HttpRequest {
  const { authorization: _, ...others }: Record<string, string> = request.headers;
  return (headers) => ({ ...request, headers: { ...others, ...headers }, expected: "unauthorized" });
}

/** Headers that let nobody in. */
export const noKey: fc.Arbitrary<Record<string, string>> = fc.oneof(
  fc.constantFrom(
    {},
    { authorization: "" },
    { authorization: TEST_KEY },
    { authorization: "Bearer" },
    { authorization: "Bearer null" },
    { authorization: `Bearer ${TEST_KEY}x` },
    { authorization: `Bearer ${TEST_KEY.slice(0, -1)}` },
    { authorization: `Bearer ${TEST_KEY.toUpperCase()}` },
    { authorization: `Bearer ${TEST_KEY},${TEST_KEY}` },
    { authorization: `Bearer ${TEST_KEY} ${TEST_KEY}` },
    { authorization: `Digest username="x", response="${TEST_KEY}"` },
    { authorization: `Basic ${TEST_KEY}` },
    { authorization: `Basic ${btoa(TEST_KEY)}` },
    { authorization: `Basic ${btoa(`${TEST_KEY}:`)}` },
    { "x-api-key": TEST_KEY, cookie: `key=${TEST_KEY}; authorization=Bearer ${TEST_KEY}` },
    { "proxy-authorization": BEARER.authorization },
  ),
  headerText.map((text) => ({ authorization: `Bearer ${text}` })),
  headerText.map((text) => ({ authorization: `Basic ${Buffer.from(text).toString("base64")}` })),
  headerText.map((text) => ({ authorization: text })),
);

/** A good login: the API takes none. */
const loginOnly: fc.Arbitrary<Record<string, string>> = fc.constant({ ...BASIC });

/** Headers that a server or a proxy might act on. */
export const nastyHeaders: fc.Arbitrary<Record<string, string>> = fc.oneof(
  fc
    .tuple(
      fc.constantFrom(
        "accept",
        "accept-encoding",
        "accept-language",
        "cookie",
        "forwarded",
        "from",
        "host",
        "if-match",
        "if-modified-since",
        "if-none-match",
        "if-range",
        "origin",
        "pragma",
        "range",
        "referer",
        "sec-fetch-site",
        "te",
        "user-agent",
        "via",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-proto",
        "x-http-method-override",
        "x-original-url",
        "x-request-id",
        "x-rewrite-url",
      ),
      headerText,
    )
    .map(([name, value]) => ({ [name]: value })),
  fc.constantFrom(
    { range: "bytes=0-0,1-1,2-2,5-1,-99999999999999999999" },
    { range: "bytes=99999999999-" },
    { "if-none-match": "*" },
    { expect: "100-continue" },
    { expect: "nothing" },
    { upgrade: "websocket", connection: "upgrade", "sec-websocket-key": "x", "sec-websocket-version": "13" },
    { upgrade: "h2c", connection: "upgrade, http2-settings", "http2-settings": "AAMAAABkAARAAAAAAAIAAAAA" },
    { connection: "authorization, content-type, close" },
    { "x-http-method-override": "DELETE", "x-method-override": "PUT" },
    { "x-original-url": "/queues/api/queues/pause", "x-rewrite-url": "/queues/api/queues/pause" },
    { "accept-encoding": `${"gzip;q=0.5,".repeat(500)}br` },
    { accept: "*/*;q=NaN, application/json;q=-1" },
  ),
  fc
    .tuple(fc.integer({ min: 50, max: 1_500 }), fc.constantFrom("x-h", "accept", "__proto__"))
    .map(([count, name]) =>
      Object.fromEntries(Array.from({ length: count }, (_, index) => [`${name}-${index}`, "x"])),
    ),
  fc.integer({ min: 8_000, max: 40_000 }).map((length) => ({ cookie: "c".repeat(length) })),
);

/** Known methods that this path does not have, with and without a body. */
function otherMethods({ methods, path, body }: Operation): fc.Arbitrary<HttpRequest> {
  const others = METHODS.filter(
    (method) =>
      !methods.includes(method) && method !== "CONNECT" && !(method === "HEAD" && methods.includes("GET")),
  );
  const sent = body
    ? goodBody(body)
    : { bytes: Buffer.from("{}"), headers: { "content-type": "application/json" } };
  return fc.tuple(fc.constantFrom(...others), fc.boolean()).map(([method, sends]) => {
    const headers = sends ? sent.headers : {};
    return {
      via: "http",
      method,
      path,
      headers: Object.assign({}, BEARER, headers),
      body: sends ? sent.bytes : undefined,
      expected: "refused",
    };
  });
}

/** The path with odd text in the place of its parameters, or written otherwise. */
function nastyPath({ template, path }: Operation): fc.Arbitrary<string> {
  const filled = fc
    .array(nastySegment, { minLength: 2, maxLength: 2 })
    .map((segments) => template.replaceAll(/\{\w+\}/g, () => segments.pop() ?? "x"));
  const written = fc.oneof(
    fc.constantFrom(
      `/${path}`,
      `//evil.example${path}`,
      `//a:b@[/#${path}`,
      `${path}/`,
      `${path}//`,
      `${path}/.`,
      `${path}/..`,
      `/.${path}`,
      `/x/..${path}`,
      `/%2e%2e${path}`,
      `${path}%20`,
      `${path}%00`,
      `${path};a=b`,
      `${path}.json`,
      `${path}\\`,
      `${path}#x`,
      `${path}?`,
      `${path}/%`,
      path.toUpperCase(),
      path.replace(/[a-z]/, (letter) => `%${letter.charCodeAt(0).toString(16)}`),
      path.replace(/(?!^)\//, "%2f"),
    ),
    nastySegment.map((segment) => `${path}/${segment}`),
    nastySegment.map((segment) => `/${segment}${path}`),
  );
  return template === path ? written : fc.oneof(filled, written);
}
