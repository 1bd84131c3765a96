import { board } from "./board.ts";
import { consoleRoutes } from "./console/console.ts";
import { docsRoutes } from "./docs.ts";
import { eventRoutes } from "./events.ts";
import { healthRoutes } from "./health.ts";
import { metricsRoute } from "./metrics.ts";
import { operationRoute } from "./operations.ts";
import { orderRoutes } from "./orders.ts";
import { paymentRoutes } from "./payments.ts";
import type { Mount, Route } from "./route.ts";
import { shipmentRoutes } from "./shipments.ts";
import { stockRoutes } from "./stock.ts";
import { webhookRoutes } from "./webhooks.ts";

/** For programs; described in `/openapi.json`. The most used come first. */
export const API: readonly Route[] = [
  ...orderRoutes,
  ...paymentRoutes,
  ...shipmentRoutes,
  operationRoute,
  ...eventRoutes,
  ...webhookRoutes,
  ...stockRoutes,
  ...healthRoutes,
];

/** For operators and their browsers, and for Prometheus. */
export const PAGES: readonly (Route | Mount)[] = [...docsRoutes, metricsRoute, ...consoleRoutes, board];
