import { createBullBoard } from "@bull-board/api";
import { BullMQAdapter } from "@bull-board/api/bullMQAdapter";
import { ExpressAdapter } from "@bull-board/express";
import { Router, type RequestHandler } from "express";
import helmet from "helmet";
import type { Queues } from "../../queues/queues.ts";

/** Milliseconds between two looks of an open page: each asks Redis about every queue. */
const POLLING_INTERVAL_MS = 5_000;

/** Bull Board over the queue of every stage: what waits, what runs, what failed, and one click to retry it. */
export function boardRoutes(path: string, queues: Queues): Router {
  const serverAdapter = new ExpressAdapter();
  serverAdapter.setBasePath(path);
  createBullBoard({
    queues: queues.all.map((queue) => new BullMQAdapter(queue)),
    serverAdapter,
    options: {
      uiConfig: {
        boardTitle: "Conveyor",
        // Lists the clients of Redis for every queue and page.
        showWorkers: false,
        pollingInterval: { forceInterval: POLLING_INTERVAL_MS },
      },
    },
  });
  const router = Router();
  // The board's own page needs inline styles; helmet's default policy allows these, and no inline script.
  router.use(
    helmet({
      strictTransportSecurity: false,
      contentSecurityPolicy: { directives: { upgradeInsecureRequests: null } },
    }),
  );
  const board: RequestHandler = serverAdapter.getRouter();
  router.use(board);
  return router;
}
