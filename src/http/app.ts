import express, { type Express } from "express";
import type { Redis } from "ioredis";
import type { Queues } from "../../queues/queues.ts";
import { Health } from "../health.ts";
import type { Logger } from "../log.ts";
import { Keys, sameSiteOnly } from "./auth.ts";
import { boardRoutes } from "./board.ts";
import { docsRoutes } from "./docs.ts";
import { healthRoutes } from "./health.ts";
import { orderRoutes, type OrderRoutes } from "./orders.ts";
import { answerErrors, notFound } from "./problem.ts";
import { resumeRoutes } from "./resume.ts";
import { stockRoutes } from "./stock.ts";
import { readJson } from "./validate.ts";

export interface AppOptions extends OrderRoutes {
  readonly redis: Redis;
  readonly queues: Queues;
  readonly apiKeys: readonly string[];
  readonly version: string;
  readonly log: Logger;
}

/** Where Bull Board lives. */
const BOARD = "/queues";
const PAGES = ["/docs", "/openapi.json", BOARD];

/** The HTTP side of the API process: everything but health asks for a key, pages by HTTP Basic. It does not listen. */
export function createApp(options: AppOptions): Express {
  const { database, redis, queues, apiKeys, version, log } = options;
  const app = express();
  const keys = new Keys(apiKeys);
  app.disable("x-powered-by");
  // Answers change from one call to the next: hashing each for a cache is wasted.
  app.disable("etag");
  app.use((_request, response, next) => {
    response.set("X-Content-Type-Options", "nosniff");
    next();
  });

  app.use(healthRoutes(new Health({ database, redis })));

  app.use(PAGES, keys.basic, sameSiteOnly);
  app.use(docsRoutes(version));
  app.use(BOARD, boardRoutes(BOARD, queues));

  app.use(keys.bearer);
  app.use(readJson);
  app.use(resumeRoutes(database));
  app.use(orderRoutes(options));
  app.use(stockRoutes(database));

  app.use(notFound);
  app.use(answerErrors(log));
  return app;
}
