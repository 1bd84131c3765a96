import { afterEach, expect, test } from "@jest/globals";
import express from "express";
import { serverOf } from "../../../src/api/app.ts";
import type { HttpServer } from "../../../src/api/server.ts";

const servers: HttpServer[] = [];
afterEach(async () => {
  await Promise.all(servers.splice(0).map((server) => server.close()));
});

test("Express leaves the prototypes of requests and responses as they are", async () => {
  const app = express();
  const prototypes = new Set<unknown>();
  const note = (...messages: object[]) => {
    for (const message of messages) prototypes.add(Object.getPrototypeOf(message));
  };
  const below = express();
  below.get("/below", (request, response) => {
    response.json({ app: request.app === below });
  });
  app.use(below);
  app.get("/here", (request, response) => {
    note(request, response);
    response.json({ app: request.app === app });
  });
  const server = serverOf(app, (listener) => (request, response) => {
    note(request, response);
    listener(request, response);
  });
  servers.push(server);
  const url = await server.listen(0, "127.0.0.1");

  expect(await (await fetch(`${url}/here`)).json()).toEqual({ app: true });
  expect(prototypes.size).toBe(2);
  expect(await (await fetch(`${url}/below`)).json()).toEqual({ app: true });
});
