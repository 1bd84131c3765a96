import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import express, { type RequestHandler } from "express";
import { z } from "zod";
import { answerErrors, Problem } from "../../../src/api/problem.ts";
import { route, RouteTables, type Mount, type Route } from "../../../src/api/route.ts";
import { HttpServer } from "../../../src/api/server.ts";
import { createLogger } from "../../../src/platform/log.ts";
import { noServices } from "../../support/routes.ts";

const servers: HttpServer[] = [];
let guarded: string[] = [];
beforeEach(() => {
  guarded = [];
});
afterEach(async () => {
  await Promise.all(servers.splice(0).map((server) => server.close()));
});

/** Lets nobody pass without the header `pass`, and notes who came. */
function guard(scope: string): RequestHandler {
  return (request, _response, next) => {
    guarded.push(`${scope} ${request.method} ${request.originalUrl}`);
    if (request.get("pass") === undefined) throw new Problem(401, "unauthorized");
    next();
  };
}

const GUARDS = { public: [], key: [guard("key")], operator: [guard("operator")] };

async function serve(...tables: readonly (Route | Mount)[][]): Promise<string> {
  const app = express();
  const answered = new RouteTables(app, { guards: GUARDS, services: noServices });
  for (const table of tables) answered.add(table);
  app.use(answerErrors(createLogger({ name: "test", level: "silent" })));
  const server = new HttpServer(app);
  servers.push(server);
  return server.listen(0, "127.0.0.1");
}

function answering(method: Route["method"], path: string, scope: Route["scope"] = "key"): Route {
  return route({ method, path, scope, handler: ({ response }) => response.json(`${method} ${path}`) });
}

const PASS = { pass: "yes" };

describe("a route", () => {
  test("hands on what fits its schemas, each part in the schema's shape", async () => {
    const seen: unknown[] = [];
    const url = await serve([
      route({
        method: "PUT",
        path: "/things/:id",
        scope: "key",
        request: {
          params: z.object({ id: z.uuid().toLowerCase() }),
          query: z.strictObject({ limit: z.coerce.number().default(5) }),
          headers: z.object({ "X-Key": z.string().optional() }),
          body: z.strictObject({ name: z.string() }),
        },
        handler: ({ params, query, headers, body, response }) => {
          seen.push({ params, query, headers, body });
          response.end();
        },
      }),
    ]);
    await fetch(`${url}/things/01A20691-7A8E-777A-BBFA-0D625AD32C50?limit=7`, {
      method: "PUT",
      headers: { ...PASS, "content-type": "application/json", "x-key": "abc" },
      body: JSON.stringify({ name: "mug" }),
    });
    expect(seen).toEqual([
      {
        params: { id: "01a20691-7a8e-777a-bbfa-0d625ad32c50" },
        query: { limit: 7 },
        headers: { "X-Key": "abc" },
        body: { name: "mug" },
      },
    ]);
  });

  test.each([
    ["a path that names nothing", "/things/none", {}, 404],
    ["an unknown parameter", "/things/1?page=2", {}, 400],
    ["a header that is not valid", "/things/1", { "x-key": "" }, 400],
    ["no JSON", "/things/1", {}, 415],
  ])("is not handed %s", async (_, path, headers, status) => {
    const url = await serve([
      route({
        method: "POST",
        path: "/things/:id",
        scope: "public",
        names: "thing",
        request: {
          params: z.object({ id: z.coerce.number() }),
          query: z.strictObject({}),
          headers: z.object({ "X-Key": z.string().min(1).optional() }),
          body: z.strictObject({}),
        },
        handler: ({ response }) => response.json("handled"),
      }),
    ]);
    const answer = await fetch(url + path, { method: "POST", headers });
    expect(answer.status).toBe(status);
    if (status === 404) expect(await answer.json()).toMatchObject({ detail: "there is no thing none" });
  });

  test("is guarded by its scope, wherever it stands, before anything of the request is read", async () => {
    const body = z.strictObject({});
    const handler = () => undefined;
    const url = await serve([
      answering("GET", "/open", "public"),
      route({ method: "POST", path: "/keyed", scope: "key", request: { body }, handler }),
      answering("GET", "/page", "operator"),
    ]);
    const headers = { "content-type": "application/json" };
    expect((await fetch(`${url}/open`)).status).toBe(200);
    expect((await fetch(`${url}/keyed`, { method: "POST", headers, body: "{" })).status).toBe(401);
    for (const path of ["/page", "/PAGE/"]) expect((await fetch(url + path)).status).toBe(401);
    expect(guarded).toEqual(["key POST /keyed", "operator GET /page", "operator GET /PAGE/"]);
  });

  test("names the methods that its path has, to those who may ask", async () => {
    const url = await serve([
      answering("GET", "/things"),
      answering("GET", "/others"),
      answering("POST", "/things"),
    ]);
    const answer = await fetch(`${url}/things`, { method: "DELETE", headers: PASS });
    expect([answer.status, answer.headers.get("allow")]).toEqual([405, "GET, HEAD, POST"]);
    expect((await fetch(`${url}/things`, { method: "DELETE" })).status).toBe(401);
  });
});

describe("what is mounted", () => {
  test("is guarded by its scope, and answers 404 for what it does not have", async () => {
    const serveIt: RequestHandler = (request, response, next) => {
      if (request.path === "/there") response.end();
      else next();
    };
    const url = await serve([{ mount: "/board", scope: "operator", serve: () => serveIt }]);
    expect((await fetch(`${url}/board/there`)).status).toBe(401);
    expect((await fetch(`${url}/board/there`, { headers: PASS })).status).toBe(200);
    expect((await fetch(`${url}/board/nowhere`, { headers: PASS })).status).toBe(404);
  });
});

describe("a table that contradicts itself is refused:", () => {
  test.each([
    [
      "one path for two scopes",
      [answering("GET", "/things"), answering("POST", "/things", "public")],
      "/things has two scopes: key and public",
    ],
    [
      "one route twice",
      [answering("GET", "/things"), answering("GET", "/things")],
      "two routes for one method",
    ],
    [
      "a path behind one that answers in its place",
      [answering("GET", "/things/:id"), answering("POST", "/things/resume")],
      "/things/resume is shadowed by /things/:id",
    ],
    [
      "a path in other letters",
      [answering("GET", "/things"), answering("GET", "/Things", "public")],
      "/Things is shadowed by /things",
    ],
    [
      "a path with a slash at its end",
      [answering("GET", "/things"), answering("POST", "/things/", "public")],
      "/things/ is shadowed by /things",
    ],
  ])("%s", async (_, table, message) => {
    await expect(serve(table)).rejects.toThrow(message);
  });
});

describe("a table that contradicts an earlier one is refused:", () => {
  const board: Mount = { mount: "/board", scope: "operator", serve: () => undefined };

  test.each([
    ["a path of another scope", answering("GET", "/things"), answering("POST", "/things", "public")],
    ["a path of the same scope", answering("GET", "/things"), answering("POST", "/things")],
    ["a path that is shadowed", answering("GET", "/things/:id"), answering("GET", "/things/new", "operator")],
    ["a path in other letters", answering("GET", "/things"), answering("GET", "/THINGS/")],
    ["a path below what is mounted", board, answering("GET", "/Board/there", "public")],
    ["a mount where a path is", answering("GET", "/board"), board],
  ])("%s", async (_, earlier, later) => {
    await expect(serve([earlier], [later])).rejects.toThrow("is shadowed by");
  });
});
