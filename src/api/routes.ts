import { board } from "./board.ts";
import { consoleRoutes } from "./console/console.ts";
import { docsRoutes } from "./docs.ts";
import { eventRoutes } from "./events.ts";
import { healthRoutes } from "./health.ts";
import { metricsRoute } from "./metrics.ts";
import { operationRoute } from "./operations.ts";
import { orderRoutes } from "./orders.ts";
import { paymentRoutes } from "./payments.ts";
import { isRoute, type Mount, type Route } from "./route.ts";
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

const NAMES = new Set([...API, ...PAGES].map((each) => firstOf(isRoute(each) ? each.path : each.mount)));

/** The name with which a path begins, if it is one with which routes begin, such as `/orders`. */
export function routeNameIn(path: string): string | undefined {
  const name = firstOf(path);
  return NAMES.has(name) ? `/${name}` : undefined;
}

function firstOf(path: string): string | undefined {
  return path.split("/", 2)[1];
}
