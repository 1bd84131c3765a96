import { createBullBoard } from "@bull-board/api";
import { BullMQAdapter } from "@bull-board/api/bullMQAdapter";
import type { AppControllerRoute, AppViewRoute } from "@bull-board/api/typings/app";
import { ExpressAdapter } from "@bull-board/express";
import type { RequestHandler } from "express";
import type { Queues } from "../../queues/queues.ts";
import type { Logger } from "../platform/log.ts";
import { boardApi } from "./board-api.ts";
import type { Mount } from "./route.ts";

/** Where Bull Board lives. */
export const BOARD = "/queues";

/** Milliseconds between two looks of an open page: each asks Redis about every queue. */
const POLLING_INTERVAL_MS = 5_000;

/** Bull Board over the queue of every stage: what waits, what runs, what failed, and one click to retry it. */
export const board: Mount = {
  mount: BOARD,
  scope: "operator",
  serve: ({ queues, log }) => queues && boardOf(queues, log),
};

function boardOf(queues: Queues, log: Logger): RequestHandler {
  const serverAdapter = new CarefulAdapter(log);
  serverAdapter.setBasePath(BOARD);
  createBullBoard({
    queues: queues.all.map((queue) => new BullMQAdapter(queue)),
    serverAdapter,
    options: {
      uiConfig: {
        boardTitle: "Conveyor",
        hideDocsLink: true,
        // Lists the clients of Redis for every queue and page.
        showWorkers: false,
        pollingInterval: { forceInterval: POLLING_INTERVAL_MS },
      },
    },
  });
  const handler: RequestHandler = serverAdapter.getRouter();
  return handler;
}

/** A stylesheet of another host. */
const FOREIGN_STYLESHEET = /<link\b[^>]*\bhref="https?:[^>]*>\s*/g;

/**
 * Serves the board's page without the fonts that it fetches from Google: it works offline, and tells nobody. The page's
 * API answers malformed requests as such.
 */
class CarefulAdapter extends ExpressAdapter {
  readonly #log: Logger;

  constructor(log: Logger) {
    super();
    this.#log = log;
    this.app.disable("x-powered-by").disable("etag");
  }

  override setApiRoutes(routes: AppControllerRoute[]): this {
    const { bullBoardQueues: queues, uiConfig } = this;
    if (queues === undefined) throw new Error("the board has its queues before its routes");
    this.app.use(boardApi({ routes, queues, uiConfig, log: this.#log }));
    return this;
  }

  override setEntryRoute(entry: AppViewRoute): this {
    this.app[entry.method](entry.route, (_request, response, next) => {
      const { name, params } = entry.handler({ basePath: this.basePath, uiConfig: this.uiConfig });
      this.app.render(name, params, (error: unknown, page: string) => {
        if (error) next(error);
        else response.send(page.replaceAll(FOREIGN_STYLESHEET, ""));
      });
    });
    return this;
  }
}
