import express from "express";
import { answerErrors } from "../../src/api/problem.ts";
import { RouteTables, type Guards, type Mount, type Route } from "../../src/api/route.ts";
import type { Services } from "../../src/api/services.ts";
import { HttpServer } from "../../src/api/server.ts";
import { createLogger } from "../../src/platform/log.ts";

const OPEN: Guards = { public: [], key: [], operator: [] };
const silent = createLogger({ name: "test", level: "silent" });

/** A server of these routes alone, open to everybody. @param services those that the routes' handlers work with. */
export function serverOf(table: readonly (Route | Mount)[], services: Partial<Services>): HttpServer {
  const app = express();
  new RouteTables(app, { guards: OPEN, services: complete({ log: silent, ...services }) }).add(table);
  app.use(answerErrors(silent));
  return new HttpServer(app);
}

/** For routes that use none. */
export const noServices = complete({});

/** The services, of which those that are missing are told when a handler asks for one. */
function complete(services: Partial<Services>): Services;
function complete(services: object): object {
  return new Proxy(services, {
    get(target, name) {
      if (!Reflect.has(target, name)) throw new Error(`no service ${String(name)} is given`);
      return Reflect.get(target, name);
    },
  });
}
