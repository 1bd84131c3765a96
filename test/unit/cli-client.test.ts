import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, describe, expect, it } from "@jest/globals";
import { ConveyorClient, RefusedError, UnreachableError } from "../../tools/cli/client.ts";

const ORDER = {
  id: "01a20691-7a8e-777a-bbfa-0d625ad32c50",
  status: "CREATED",
  reference: "536365",
  customerId: "17850",
  currency: "GBP",
  total: 255,
  lines: [{ sku: "A", quantity: 1, unitPrice: 255 }],
  createdAt: "2026-11-23T09:30:00.000Z",
  updatedAt: "2026-11-23T09:30:00.000Z",
};
const BODY = { customerId: "17850", currency: "GBP", lines: ORDER.lines };

type Handler = (request: IncomingMessage, response: ServerResponse, body: string) => void;

const servers: Server[] = [];
const clients: ConveyorClient[] = [];

afterEach(() => {
  for (const client of clients.splice(0)) client.close();
  for (const server of servers.splice(0)) {
    server.close();
    server.closeAllConnections();
  }
});

/** A client of a real HTTP server that answers the first request with the first handler, and so on; the last one stays. */
async function clientOf(
  handlers: Handler[],
  { patience = 5_000, signal = new AbortController().signal } = {},
) {
  const requests: IncomingMessage[] = [];
  const server = createServer((request, response) => {
    requests.push(request);
    const handler = handlers[Math.min(requests.length, handlers.length) - 1];
    let body = "";
    request.on("data", (chunk: Buffer) => (body += chunk.toString()));
    request.on("end", () => handler?.(request, response, body));
  });
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  // A server that listens on a port has such an address.
  const { port } = server.address() as AddressInfo; // oxlint-disable-line no-unsafe-type-assertion
  const target = { url: new URL(`http://127.0.0.1:${port}/base/`), apiKey: "key" };
  const client = new ConveyorClient(target, { connections: 4, patience, signal });
  clients.push(client);
  return { client, requests };
}

const answer =
  (status: number, body: unknown, headers: Record<string, string> = {}): Handler =>
  (_request, response) => {
    response.writeHead(status, { "content-type": "application/json", ...headers });
    response.end(JSON.stringify(body));
  };
const hangUp: Handler = (request) => request.socket.destroy();
const busy = answer(503, {}, { "retry-after": "0" });
const accepted = answer(202, ORDER);
const replayed = answer(202, ORDER, { "idempotent-replayed": "true" });

describe("placing an order", () => {
  it("carries the key, the Idempotency-Key and the order", async () => {
    let body = "";
    const { client: one, requests } = await clientOf([
      (request, response, text) => {
        body = text;
        accepted(request, response, text);
      },
    ]);
    const placed = await one.placeOrder(BODY, "536365");
    expect(placed).toEqual({ order: expect.objectContaining({ id: ORDER.id, total: 255 }), wasThere: false });
    expect(requests[0]).toMatchObject({ method: "POST", url: "/base/orders" });
    expect(requests[0]?.headers).toMatchObject({
      authorization: "Bearer key",
      "idempotency-key": "536365",
      "content-type": "application/json",
    });
    expect(JSON.parse(body)).toEqual(BODY);
  });

  it("is sent again, with the same key, when the answer is lost or the service is busy", async () => {
    const { client: one, requests } = await clientOf([hangUp, busy, answer(429, {}), accepted]);
    expect(await one.placeOrder(BODY, "536365")).toMatchObject({ order: { id: ORDER.id }, wasThere: false });
    expect(requests.map(({ headers }) => headers["idempotency-key"])).toEqual(Array(4).fill("536365"));
  });

  it("tells an order that was there from one that it made itself before the answer got lost", async () => {
    const earlier = await clientOf([replayed]);
    expect(await earlier.client.placeOrder(BODY, "1")).toMatchObject({ wasThere: true });

    const greeting = answer(200, { items: [], nextCursor: null }, { date: "Mon, 23 Nov 2026 09:29:59 GMT" });
    const own = await clientOf([greeting, hangUp, replayed]);
    await own.client.greet();
    expect(await own.client.placeOrder(BODY, "1")).toMatchObject({ wasThere: false });

    const later = answer(200, { items: [], nextCursor: null }, { date: "Mon, 23 Nov 2026 09:30:01 GMT" });
    const others = await clientOf([later, hangUp, replayed]);
    await others.client.greet();
    expect(await others.client.placeOrder(BODY, "1")).toMatchObject({ wasThere: true });
  });

  it("is not sent again when it is refused, and says what is wrong", async () => {
    const errors = [{ path: "lines[0].quantity", message: "must be at least 1" }];
    const refusal = { type: "urn:x", title: "The input is not valid", status: 422, errors };
    const { client: one, requests } = await clientOf([answer(422, refusal)]);
    const refused = await one.placeOrder(BODY, "1").catch((error: unknown) => error);
    expect(refused).toBeInstanceOf(RefusedError);
    expect(refused).toMatchObject({
      status: 422,
      message: "refused with 422: lines[0].quantity: must be at least 1",
    });
    expect(requests).toHaveLength(1);
  });

  it("gives up when patience ends", async () => {
    const { client: one } = await clientOf([busy], { patience: 300 });
    const failed = await one.placeOrder(BODY, "1").catch((error: unknown) => error);
    expect(failed).toBeInstanceOf(UnreachableError);
    expect(failed).toMatchObject({
      othersWereAnswered: false,
      message: expect.stringContaining("status 503"),
    });
  });

  it("ends at once when it is aborted, in a pause too", async () => {
    const stop = new AbortController();
    const waitLong: Handler = (request, response, body) => {
      answer(503, {}, { "retry-after": "60" })(request, response, body);
      response.on("close", () => stop.abort());
    };
    const { client: one } = await clientOf([waitLong], { patience: 600_000, signal: stop.signal });
    await expect(one.placeOrder(BODY, "1")).rejects.toMatchObject({ name: "AbortError" });
  });
});

describe("greeting", () => {
  it("is content with Conveyor, even when its database is away", async () => {
    const { client: one } = await clientOf([answer(200, { items: [ORDER], nextCursor: null }), busy]);
    await one.greet();
    await one.greet();
  });

  it.each([
    ["does not accept the API key", answer(401, {})],
    ["is not Conveyor", answer(200, "<html>")],
    ["is not Conveyor", answer(404, {})],
    ["no answer from", hangUp],
  ])("says what is in the way: %s", async (message, handler) => {
    const { client: one } = await clientOf([handler]);
    await expect(one.greet()).rejects.toThrow(message);
  });

  it("says so when nothing listens", async () => {
    const { client: one } = await clientOf([hangUp]);
    await new Promise((resolve) => servers[0]?.close(resolve));
    await expect(one.greet()).rejects.toThrow(/no answer from .* \(ECONNREFUSED\): is the service running/);
  });
});

describe("reading", () => {
  it("walks the pages down to the oldest id that is wanted", async () => {
    const item = (id: string) => ({ ...ORDER, id });
    const { client: one, requests } = await clientOf([
      answer(200, { items: [item("9"), item("8")], nextCursor: "next" }),
      answer(200, { items: [item("7"), item("6")], nextCursor: "further" }),
    ]);
    const ids: string[] = [];
    for await (const page of one.orders("7", "PAID")) ids.push(...page.map(({ id }) => id));
    expect(ids).toEqual(["9", "8", "7"]);
    expect(requests.map(({ url }) => url)).toEqual([
      "/base/orders?limit=200&status=PAID",
      "/base/orders?limit=200&status=PAID&cursor=next",
    ]);
  });

  it("asks for SKUs of any name, and takes 404 for one that is unknown", async () => {
    const { client: one, requests } = await clientOf([answer(404, {})]);
    for (const sku of ["A/B", "..", "50% ä"]) expect(await one.stock(sku)).toBeUndefined();
    expect(requests.map(({ url }) => url)).toEqual([
      "/base/stock/A%2FB",
      "/base/stock/%2E%2E",
      "/base/stock/50%25%20%C3%A4",
    ]);
  });

  it("does not take another service's answer for Conveyor's", async () => {
    const { client: one } = await clientOf([answer(200, { hello: "world" })]);
    await expect(one.stock("A")).rejects.toThrow("is it another version of Conveyor?");
  });
});
