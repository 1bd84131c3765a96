import { createBullBoard } from "@bull-board/api";
import { BullMQAdapter } from "@bull-board/api/bullMQAdapter";
import type { AppControllerRoute, AppViewRoute } from "@bull-board/api/typings/app";
import { ExpressAdapter } from "@bull-board/express";
import type { RequestHandler } from "express";
import { boardApi, type BoardServices } from "./board-api.ts";
import type { Mount } from "./route.ts";

/** Bull Board's path. */
export const BOARD = "/queues";

/** Polling interval of an open page; each poll asks Redis about every queue. Milliseconds. */
const POLLING_INTERVAL_MS = 5_000;

/** Bull Board: each stage's queue, with what waits, runs and failed, and a button to retry it. */
export const board: Mount = {
  mount: BOARD,
  scope: "operator",
  serve: ({ queues, ...services }) => queues && boardOf({ ...services, queues }),
};

function boardOf(services: BoardServices): RequestHandler {
  const serverAdapter = new CarefulAdapter(services);
  serverAdapter.setBasePath(services.base + BOARD);
  createBullBoard({
    queues: services.queues.all.map((queue) => new BullMQAdapter(queue)),
    serverAdapter,
    options: {
      uiConfig: {
        boardTitle: "Conveyor",
        hideDocsLink: true,
        // Would list all Redis clients for every queue and page.
        showWorkers: false,
        pollingInterval: { forceInterval: POLLING_INTERVAL_MS },
      },
    },
  });
  const handler: RequestHandler = serverAdapter.getRouter();
  return handler;
}

/** A stylesheet from another host. */
const FOREIGN_STYLESHEET = /<link\b[^>]*\bhref="https?:[^>]*>\s*/g;

/**
 * Serves the board's page without its Google fonts, so that it works offline and tells nobody, and with an API that
 * validates requests.
 */
class CarefulAdapter extends ExpressAdapter {
  readonly #services: BoardServices;

  constructor(services: BoardServices) {
    super();
    this.#services = services;
    this.app.disable("x-powered-by").disable("etag");
  }

  override setApiRoutes(routes: AppControllerRoute[]): this {
    const { bullBoardQueues: queues, uiConfig } = this;
    if (queues === undefined) throw new Error("the board's queues must be set before its routes");
    this.app.use(boardApi({ routes, queues, uiConfig, services: this.#services }));
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
