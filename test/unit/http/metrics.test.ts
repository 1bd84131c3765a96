import { once } from "node:events";
import { createServer, get, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, beforeEach, expect, test } from "@jest/globals";
import express, { Router, type Express } from "express";
import { HttpMetrics } from "../../../src/api/metrics.ts";
import { Metrics } from "../../../src/platform/metrics.ts";
import { Scrape } from "../../support/metrics.ts";
import { waitFor } from "../../support/wait-for.ts";

let metrics: Metrics;
let app: Express;
let server: Server;
let url: string;
beforeEach(async () => {
  metrics = new Metrics();
  app = express();
  server = createServer(new HttpMetrics(metrics).measured(app)).listen(0, "127.0.0.1");
  await once(server, "listening");
  // oxlint-disable-next-line no-unsafe-type-assertion -- it listens on a port
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterEach(async () => {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
});

/** Each method, route and status that was measured, once so many were. */
function measured(count: number): Promise<string[]> {
  return waitFor(`${count} requests to be measured`, async () => {
    const samples = new Scrape(await metrics.text()).all("conveyor_http_request_duration_seconds_count");
    if (samples.reduce((sum, { value }) => sum + value, 0) < count) return undefined;
    return samples.map(({ labels }) => `${labels["method"]} ${labels["route"]} ${labels["status"]}`);
  });
}

test("a request is measured by its route's template, below the path where its router hangs", async () => {
  const inner = Router().get("/items/:id", (_request, response) => void response.send("ok"));
  app.use("/Things", inner);
  await fetch(`${url}/things/items/7`);
  await fetch(`${url}/tHiNgS/items/8`);
  expect(await measured(2)).toEqual(["GET /things/items/:id 2xx"]);
});

test("addresses without a route count as one, however many, and so do unknown methods", async () => {
  for (const path of ["/a", "/b", "/c/d"]) await fetch(url + path);
  await fetch(url, { method: "PROPFIND" });
  expect(await measured(4)).toEqual(["GET none 4xx", "other none 4xx"]);
});

test("routes beyond a limit count as one", async () => {
  app.use((request, _response, next) => {
    // As a router would that hangs at a path with a parameter.
    request.route = { path: request.path };
    next();
  });
  for (let n = 0; n < 203; n++) await fetch(`${url}/${n}`);
  const routes = await measured(203);
  expect(routes).toHaveLength(201);
  expect(routes).toContain("GET other 4xx");
});

test("a request whose client left has no status", async () => {
  const came = new Promise<void>((resolve) => app.get("/slow", () => resolve()));
  const request = get(`${url}/slow`).on("error", () => undefined);
  await came;
  request.destroy();
  expect(await measured(1)).toEqual(["GET /slow aborted"]);
});

test("a stream of events is not measured", async () => {
  app.get("/stream", (_request, response) => void response.type("text/event-stream").send("data: 1\n\n"));
  app.get("/plain", (_request, response) => void response.send("ok"));
  await (await fetch(`${url}/stream`)).text();
  await (await fetch(`${url}/plain`)).text();
  expect(await measured(1)).toEqual(["GET /plain 2xx"]);
});
