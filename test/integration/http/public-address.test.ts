import { request } from "node:http";
import { describe, expect, test } from "@jest/globals";
import { BASIC, BEARER, useApi } from "../../support/api.ts";
import { PLAIN_ORDER } from "../../support/client.ts";
import { startApi } from "../../support/processes.ts";

const BASE = "/conveyor";
const api = useApi({
  PUBLIC_URL: `https://ops.example.com${BASE}`,
  TRUST_PROXY: "loopback",
});

/** Where an answer says that its subject is, after it has been looked for there. */
async function toldBy({ headers }: { readonly headers: Headers }): Promise<string> {
  const location = headers.get("location") ?? "";
  // The proxy passes the path on; the proxies' own test has one that takes it away.
  const { status } = await fetch(new URL(location, api.client.url), { headers: BEARER });
  expect(status).toBe(200);
  return location;
}

test("where an answer says that something is begins with the path of PUBLIC_URL", async () => {
  const placed = await api.client.post<{ id: string }>("/orders", PLAIN_ORDER);
  const order = `${BASE}/orders/${placed.body.id}`;
  const path = `/orders/${placed.body.id}`;
  expect(await toldBy(placed)).toBe(order);
  expect(await toldBy(await api.client.post(`${path}/wake`, {}))).toBe(order);
  expect(await toldBy(await api.client.post(`${path}/cancel`, { reason: "by mistake" }))).toBe(order);

  const endpoint = await api.client.post<{ id: string }>("/webhook-endpoints", {
    url: "https://shop.example/hooks",
  });
  expect(await toldBy(endpoint)).toBe(`${BASE}/webhook-endpoints/${endpoint.body.id}`);
});

describe("behind a proxy that serves several names", () => {
  /** The status of a page and of a form. */
  async function statusesOf(headers: Record<string, string>, url = api.client.url) {
    const asked = (method: string, path: string, more = {}) =>
      new Promise<number | undefined>((resolve, reject) => {
        // fetch sets Host itself.
        request(`${url}${path}`, { method, headers: { ...BASIC, ...headers, ...more } }, (answer) => {
          answer.resume();
          resolve(answer.statusCode);
        })
          .on("error", reject)
          .end();
      });
    const origin = { origin: "https://other.example" };
    return [await asked("GET", "/console"), await asked("POST", "/console/queues/pay/pause", origin)];
  }
  const forwarded = { "x-forwarded-host": "other.example" };

  test("pages and forms are served under any name that a trusted proxy forwards", async () => {
    expect(await statusesOf({ host: "ops.example.com", ...forwarded })).toEqual([200, 303]);
    expect(await statusesOf({ host: "upstream", ...forwarded })).toEqual([200, 303]);
    // From a page of another origin.
    expect(await statusesOf({ host: "upstream", "x-forwarded-host": "shop.example" })).toEqual([200, 403]);
  });

  test("and not under one that nobody forwards, or somebody else", async () => {
    expect(await statusesOf({ host: "other.example" })).toEqual([421, 421]);
    const wary = await startApi({ ...api.environment, env: { TRUST_PROXY: "10.0.0.0/8" } });
    try {
      expect(await statusesOf({ host: "other.example", ...forwarded }, wary.url)).toEqual([421, 421]);
    } finally {
      await wary.stop();
    }
  });
});
