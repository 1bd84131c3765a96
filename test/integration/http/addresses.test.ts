import { once } from "node:events";
import { connect } from "node:net";
import { text } from "node:stream/consumers";
import { expect, test } from "@jest/globals";
import { BEARER, useApi } from "../../support/api.ts";

const api = useApi();

/** The answer to a GET of what stands in the place of an address, which no client would send so. */
async function get(
  target: string,
  { host = "api", authorization = BEARER.authorization }: { host?: string; authorization?: string } = {},
): Promise<{ head: string; body: string }> {
  const { hostname, port } = new URL(api.client.url);
  const socket = connect({ host: hostname, port: Number(port) });
  await once(socket, "connect");
  socket.write(
    `GET ${target} HTTP/1.1\r\nhost: ${host}\r\nauthorization: ${authorization}\r\nconnection: close\r\n\r\n`,
  );
  const [head = "", body = ""] = (await text(socket)).split("\r\n\r\n");
  return { head: head.toLowerCase(), body };
}

test.each(["http://[", "http://a:b:c/orders", "//a:b@[/#x", "/orders#x", "ftp://api/orders"])(
  "what cannot be read as an address is told so: %s",
  async (target) => {
    const { head, body } = await get(target);
    expect(head).toMatch(/^http\/1\.1 400 /);
    expect(head).toContain("content-type: application/problem+json");
    expect(head).toContain("x-content-type-options: nosniff");
    expect(JSON.parse(body)).toEqual({
      type: "urn:conveyor:problem:malformed-request",
      title: "The request cannot be read",
      status: 400,
      detail: "the address cannot be read",
    });
  },
);

test.each(["http://api/orders?limit=1", "HTTP://API/orders?limit=1"])(
  "a whole address, as clients of a proxy send it, leads to its path: %s",
  async (target) => {
    const { head, body } = await get(target);
    expect(head).toMatch(/^http\/1\.1 200 /);
    expect(JSON.parse(body)).toEqual({ items: [], nextCursor: null });
  },
);

test("a whole address is no way around the key", async () => {
  for (const path of ["/orders", "/queues/api/queues", "/docs"]) {
    // Pages are not served under such a name at all.
    const given = { host: "elsewhere.example", authorization: "Bearer wrong" };
    const { head } = await get(`http://elsewhere.example${path}`, given);
    expect(head).toMatch(/^http\/1\.1 (401|421) /);
  }
});

test("none of it counts as the service's fault", () => {
  expect(api.process.lines.filter((line) => !line.includes('"level":"info"'))).toEqual([]);
});
