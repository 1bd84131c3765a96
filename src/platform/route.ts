import type { IncomingMessage } from "node:http";

/** The template of the route that Express matched, such as `/orders/:id`; undefined if none. */
export function routeOf(request: IncomingMessage): string | undefined {
  const route: unknown = "route" in request ? request.route : undefined;
  if (typeof route !== "object" || route === null || !("path" in route)) return undefined;
  const base = "baseUrl" in request ? String(request.baseUrl).toLowerCase() : "";
  return base + String(route.path);
}
