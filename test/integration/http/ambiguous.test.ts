import { connect } from "node:net";
import { text } from "node:stream/consumers";
import { describe, expect, test } from "@jest/globals";
import { BASIC, BEARER, useApi } from "../../support/api.ts";
import { PLAIN_ORDER } from "../../support/client.ts";

const api = useApi();

/** Sends a head that no client would, and gives the answer. */
async function head(target: string, ...headers: string[]): Promise<{ status: number; body: string }> {
  const { hostname, port } = new URL(api.client.url);
  const socket = connect({ host: hostname, port: Number(port) });
  const named = headers.some((line) => /^host:/i.test(line)) ? [] : ["Host: localhost"];
  const lines = [`GET ${target} HTTP/1.1`, ...named, ...headers, "Connection: close"];
  socket.write(Buffer.from(`${lines.join("\r\n")}\r\n\r\n`, "latin1"));
  const answer = await text(socket);
  const [first = "", body = ""] = answer.split("\r\n\r\n");
  return { status: Number(/^HTTP\/1\.1 (\d+)/.exec(first)?.[1]), body };
}

const KEY = `Authorization: ${BEARER.authorization}`;

describe("a header that a proxy might read otherwise is refused", () => {
  test.each([
    [KEY, "Authorization: Bearer another-key-0123456789"],
    [KEY, "Idempotency-Key: a", "Idempotency-Key: b"],
    [KEY, "Host: localhost", "Host: evil.example"],
    [KEY, "Content-Type: application/json", "content-type: text/plain"],
    [KEY, "Last-Event-ID: 1", "Last-Event-ID: 2"],
    [KEY, "Host: localhost, evil.example"],
    [KEY, "Host: local host"],
    [KEY, "Host: user@localhost"],
    [KEY, "Content-Type: application/json; charset=utf-8; charset=utf-16"],
    [KEY, 'Content-Type: application/json;CHARSET="utf-16" ; charset=utf-8'],
  ])("%s, %s %s", async (...headers) => {
    const { status, body } = await head("/orders", ...headers);
    expect(status).toBe(400);
    expect(JSON.parse(body)).toMatchObject({
      type: "urn:conveyor:problem:malformed-request",
      detail: expect.stringMatching(
        /^there is more than one header \S+$|^the header host is not the name|more than one charset$/,
      ),
    });
  });

  test("but not several of one that may be a list", async () => {
    expect(await head("/orders", KEY, "Accept: text/html", "Accept: */*")).toMatchObject({ status: 200 });
  });
});

describe("an address that a proxy or a URL library would change is refused", () => {
  test.each([
    "/stock/..",
    "/stock/%2e%2E",
    "/stock/.",
    "/stock/../orders",
    "/./orders",
    "//orders",
    "/orders//",
    "/stock/A%2F..%2FB",
    "/stock/A%2f%2e%5cB",
    "/stock/%2FA",
    "/stock/a\\b",
    "/stock/\u00e9",
    '/stock/"a"',
    "/stock/{a}",
    "/orders?limit=1\u00e9",
    "/orders?customerId=%e9",
    "/orders?customerId=%ed%a0%80",
    "/orders?customerId=%c0%ae",
    "/orders?reference=50%",
    "/orders?reference=%4",
    "/orders?reference=%u00e9",
    "/orders?customerId=a#b",
  ])("%s", async (target) => {
    expect((await head(target, KEY)).status).toBe(400);
  });

  test("also if what it decodes to would be a name of ours", async () => {
    const { body } = await head("/stock/A%5c..%2FB", KEY);
    expect(body).toContain("the address has an empty segment, . or .. in its path");
  });

  test.each(["/ORDERS", "/Console", "/QUEUES/api/queues"])(
    "in other letters it is another: %s",
    async (path) => {
      expect((await head(path, KEY)).status).toBe(404);
    },
  );
});

test("an address may have characters of more than one byte in its query", async () => {
  const found = await head(`/orders?reference=${encodeURIComponent("50% für 日本 👍")}`, KEY);
  expect(found).toMatchObject({ status: 200 });
});

describe("a body whose length another would find elsewhere is refused", () => {
  const order = JSON.stringify(PLAIN_ORDER);
  test.each([
    ["1.1", "gzip, chunked", "the header transfer-encoding can only be chunked"],
    ["1.1", "identity, chunked", "the header transfer-encoding can only be chunked"],
    ["1.0", "chunked", "HTTP/1.0 has no header transfer-encoding"],
  ])("HTTP/%s, transfer-encoding: %s", async (version, coding, detail) => {
    const { hostname, port } = new URL(api.client.url);
    const socket = connect({ host: hostname, port: Number(port) });
    const lines = [
      `POST /orders HTTP/${version}`,
      "Host: localhost",
      KEY,
      "Content-Type: application/json",
      `Transfer-Encoding: ${coding}`,
      "Connection: close",
    ];
    socket.write(`${lines.join("\r\n")}\r\n\r\n${order.length.toString(16)}\r\n${order}\r\n0\r\n\r\n`);
    const [first = "", body = ""] = (await text(socket)).split("\r\n\r\n");
    expect(first).toMatch(/^HTTP\/1\.1 400 /);
    expect(body).toContain(detail);
  });
});

test.each(["/orders/", "/metrics/", "/health/live/", "/console/", "/stock/MUG-BLUE/"])(
  "with a slash at its end an address is another: %s",
  async (path) => {
    const login = path === "/console/" ? `Authorization: ${BASIC.authorization}` : KEY;
    expect((await head(path, login)).status).toBe(404);
  },
);

describe("a SKU that has a step of a path is refused", () => {
  test.each([".", "..", "A/../B", "A/./B", "A//B", "/A", "A/", "A\\..\\B", "../A"])("%s", async (sku) => {
    const lines = [{ ...PLAIN_ORDER.lines[0], sku }];
    const answers = [
      await api.client.post("/orders", { ...PLAIN_ORDER, lines }),
      await api.client.post("/stock", { items: [{ sku, onHand: 1 }] }),
    ];
    for (const { status, body } of answers) {
      expect(status).toBe(422);
      expect(body.errors).toEqual([
        {
          path: expect.stringMatching(/\[0\]\.sku$/),
          message: "must not have ., .. or nothing between slashes",
        },
      ]);
    }
  });

  test("but not one that is only unusual", async () => {
    const sku = "Kaffee/Käse 100% 日本 👩‍👩‍👧‍👦❤️";
    await api.client.put(`/stock/${encodeURIComponent(sku)}`, { onHand: 3 });
    const { body } = await api.client.get(`/stock/${encodeURIComponent(sku)}`);
    expect(body).toMatchObject({ sku, onHand: 3 });
  });
});

test.each([
  "\u202e1-tsuc",
  "cust\u200b-1",
  "cust\u2028-1",
  "cust\ufe0f-1",
  "cust\u3164-1",
  "cust\u00ad-1",
  "😀\u200d",
])("an identifier that looks like another one is refused: %j", async (id) => {
  const { status, body } = await api.client.post("/orders", {
    ...PLAIN_ORDER,
    customerId: id,
    reference: id,
    lines: [{ ...PLAIN_ORDER.lines[0], sku: id }],
  });
  expect(status).toBe(422);
  const message = "must not contain invisible characters";
  expect(body.errors).toEqual(["customerId", "lines[0].sku", "reference"].map((path) => ({ path, message })));
});

test.each([
  ['"customerId":"cust-1","customerId":"cust-2"', "customerId"],
  ['"customerId":"cust-1","customer\\u0049d":"cust-2"', "customerId"],
  ['"metadata":{"a":"1","a":"1"}', "metadata.a"],
])("a body in which a name stands twice is refused: %s", async (twice, name) => {
  const { status, body } = await api.client.raw("POST", "/orders", {
    headers: { ...BEARER, "content-type": "application/json" },
    body: Buffer.from(JSON.stringify(PLAIN_ORDER).replace(/^\{/, `{${twice},`)),
  });
  expect([status, body.detail]).toEqual([400, `"${name}" stands twice in the body`]);
});

describe("a body that is not UTF-8 is refused, whatever its charset says", () => {
  const order = JSON.stringify(PLAIN_ORDER);
  test.each([
    ["utf-7", Buffer.from(order)],
    ["utf-16", Buffer.from(`\ufeff${order}`, "utf16le")],
    ["utf-16le", Buffer.from(order, "utf16le")],
    [
      "utf-32",
      Buffer.from([0xff, 0xfe, 0, 0, ...Array.from(order).flatMap((each) => [each.charCodeAt(0), 0, 0, 0])]),
    ],
    ["utf-32le", Buffer.from(Array.from(order).flatMap((each) => [each.charCodeAt(0), 0, 0, 0]))],
    ["latin1", Buffer.from(order)],
    ["", Buffer.from(order)],
    ['""', Buffer.from(order)],
    ['"utf-8', Buffer.from(order)],
    ["utf-8x", Buffer.from(order)],
  ])("%s", async (charset, body) => {
    const answer = await api.client.raw("POST", "/orders", {
      headers: { ...BEARER, "content-type": `application/json; charset=${charset}` },
      body,
    });
    expect([answer.status, answer.body.detail]).toEqual([415, "send the body as UTF-8"]);
  });

  test("also as RFC 8187 writes it", async () => {
    const answer = await api.client.raw("POST", "/orders", {
      headers: { ...BEARER, "content-type": "application/json; charset*=utf-16''x" },
      body: Buffer.from(order),
    });
    expect([answer.status, answer.body.detail]).toEqual([415, "send the body as UTF-8"]);
  });

  test("also of a form", async () => {
    const answer = await fetch(`${api.client.url}/console/queues/pay/pause`, {
      method: "POST",
      headers: { ...BASIC, "content-type": "application/x-www-form-urlencoded; charset=iso-8859-1" },
      body: "a=b",
    });
    expect(answer.status).toBe(415);
  });
});

describe("the pages", () => {
  test.each(["localhost:3000", "conveyor.localhost", "127.0.0.1", "192.168.1.7:8080", "[::1]:3000"])(
    "are served under %s, which no other site can take",
    async (host) => {
      for (const path of ["/console", "/queues", "/docs"])
        expect((await head(path, `Host: ${host}`, `Authorization: ${BASIC.authorization}`)).status).toBe(200);
    },
  );

  test.each(["evil.example", "127.0.0.1.evil.example:3000", "localhost.evil.example", "conveyor"])(
    "are not served under %s, whose owner could have it point here",
    async (host) => {
      for (const path of [
        "/console",
        "/console/assets/console.js",
        "/queues",
        "/queues/api/queues",
        "/docs",
      ]) {
        const { status, body } = await head(path, `Host: ${host}`, `Authorization: ${BASIC.authorization}`);
        expect(status).toBe(421);
        expect(body).toContain("set PUBLIC_URL to the address that people use");
      }
      // Programs, which send a key of their own, may call it anything.
      expect((await head("/orders", `Host: ${host}`, KEY)).status).toBe(200);
    },
  );

  test("take an address that is a whole URL, of the host in the header", async () => {
    const login = `Authorization: ${BASIC.authorization}`;
    expect((await head("http://localhost/console", "Host: localhost", login)).status).toBe(200);
    expect((await head("http://evil.example/console", "Host: evil.example", login)).status).toBe(421);
  });

  test.each([
    ["http://localhost/orders/../stock", "localhost"],
    ["http://localhost/orders/%2e%2e/stock", "localhost"],
    ["http://localhost//stock", "localhost"],
    ["http:///stock", "localhost"],
    ["http://evil.example@localhost/stock", "localhost"],
    ["http://localhost/console", "evil.example"],
    ["http://evil.example/console", "localhost"],
  ])("refuse the address %s beside the host %s", async (target, host) => {
    expect((await head(target, `Host: ${host}`, KEY)).status).toBe(400);
  });

  test("take no login that is not base64", async () => {
    const [, login = ""] = BASIC.authorization.split(" ");
    expect(
      (await head("/console", `Authorization: Basic ${login.slice(0, 5)}~${login.slice(5)}`)).status,
    ).toBe(401);
  });
});
