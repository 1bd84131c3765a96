import { Writable } from "node:stream";
import { afterEach, describe, expect, test } from "@jest/globals";
import express, { type RequestHandler } from "express";
import { pino } from "pino";
import { DatabaseError } from "../../../db/errors.ts";
import { StockReservedError } from "../../../db/stock.ts";
import { OverloadedError } from "../../../src/platform/group-commit.ts";
import { answerErrors, notFound, Problem } from "../../../src/api/problem.ts";
import { HttpServer } from "../../../src/api/server.ts";

const servers: HttpServer[] = [];
afterEach(async () => {
  await Promise.all(servers.splice(0).map((server) => server.close()));
});

/** What a client is told, and what is logged, when this happens to its request. */
async function ask(handler: RequestHandler, path = "/asked/for?token=tok_secret") {
  const logged: unknown[] = [];
  const destination = new Writable({
    write(line, _encoding, done) {
      logged.push(JSON.parse(String(line)));
      done();
    },
  });
  const app = express();
  app.get(["/asked/:what", "/operations/:token"], handler);
  app.use(notFound);
  app.use(answerErrors(pino({ base: null, timestamp: false }, destination)));
  const server = new HttpServer(app);
  servers.push(server);
  const answer = fetch(`${await server.listen(0, "127.0.0.1")}${path}`);
  return { answer: await answer, logged };
}

function failing(error: unknown): RequestHandler {
  return () => {
    throw error;
  };
}

describe("an error becomes an answer", () => {
  test.each<[string, unknown, number, string]>([
    ["a problem", new Problem(404, "not-found"), 404, "not-found"],
    ["stock below what is reserved", new StockReservedError([]), 409, "stock-reserved"],
    ["too many callers", new OverloadedError("10000 items are already waiting"), 503, "unavailable"],
    ["MySQL out of reach", new DatabaseError("ECONNREFUSED", undefined), 503, "unavailable"],
    ["MySQL with too many connections", new DatabaseError("ER_CON_COUNT_ERROR", 1040), 503, "unavailable"],
    ["MySQL going down", new DatabaseError("ER_SERVER_SHUTDOWN", 1053), 503, "unavailable"],
    ["a read-only MySQL", new DatabaseError("ER_OPTION_PREVENTS_STATEMENT", 1290), 503, "unavailable"],
    ["a row that others keep locked", new DatabaseError("ER_LOCK_WAIT_TIMEOUT", 1205), 503, "unavailable"],
    ["data that MySQL refuses", new DatabaseError("ER_DATA_TOO_LONG", 1406), 500, "internal"],
    [
      "a body of a parser's error",
      Object.assign(new Error("x"), { status: 413, limit: 5 }),
      413,
      "body-too-large",
    ],
    [
      "another of the parser's errors",
      Object.assign(new Error("x"), { status: 400 }),
      400,
      "malformed-request",
    ],
    [
      "an error with a status that is no client's fault",
      Object.assign(new Error("x"), { status: 502 }),
      500,
      "internal",
    ],
    [
      "an error with a status that is no number",
      Object.assign(new Error("x"), { status: "404" }),
      500,
      "internal",
    ],
    ["any other error", new TypeError("x is not a function"), 500, "internal"],
    ["what is no error", "a text", 500, "internal"],
  ])("%s", async (_, error, status, type) => {
    const { answer } = await ask(failing(error));
    expect(answer.status).toBe(status);
    expect(answer.headers.get("content-type")).toContain("application/problem+json");
    expect(answer.headers.get("retry-after")).toBe(status === 503 ? "1" : null);
    expect(await answer.json()).toMatchObject({ type: `urn:conveyor:problem:${type}`, status });
  });
});

test("an internal error goes to the log, in one line without the query, and not to the client", async () => {
  const { answer, logged } = await ask(failing(new Error("the ledger has lost key-17")));
  expect(await answer.json()).toEqual({
    type: "urn:conveyor:problem:internal",
    title: "Something went wrong",
    status: 500,
  });
  expect(logged).toEqual([
    {
      level: 50,
      method: "GET",
      path: "/asked/for",
      status: 500,
      error: "Error: the ledger has lost key-17",
      msg: "request failed",
    },
  ]);
});

test("a callback's token does not go to the log", async () => {
  for (const path of ["/operations/AaIGkXqOd3q7", "/OPERATIONS/AaIGkXqOd3q7/"]) {
    const { logged } = await ask(failing(new DatabaseError("ECONNREFUSED", undefined)), path);
    expect(logged).toEqual([
      expect.objectContaining({ path: expect.stringMatching(/:token\/?$/), status: 503 }),
    ]);
    expect(JSON.stringify(logged)).not.toContain("AaIGkXqOd3q7");
  }
});

test("a client's error is not logged", async () => {
  const { logged } = await ask(failing(new Problem(422, "invalid-input")));
  expect(logged).toEqual([]);
});

test("an answer that breaks off does not look complete", async () => {
  const { answer } = await ask((_request, response) => {
    response.status(200).write("half of it");
    throw new Error("the other half is lost");
  });
  await expect(answer.text()).rejects.toThrow("terminated");
});

test("the title of each type says in general what happened, the detail what happened here", async () => {
  const { answer } = await ask(
    failing(new Problem(409, "stock-reserved", { detail: "reserved already: 3 of MUG" })),
  );
  expect(await answer.json()).toEqual({
    type: "urn:conveyor:problem:stock-reserved",
    title: "More stock is reserved than that",
    status: 409,
    detail: "reserved already: 3 of MUG",
  });
});
