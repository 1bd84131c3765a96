import type { IncomingMessage } from "node:http";

/** What is a secret in a path: the token of a callback, which whoever reads it could use in the service's place. */
const SECRET = /(?<=\/operations\/)[^/]+/gi;

/** A path as logs and traces may show it, whether or not a route takes it. */
export function withoutSecrets(path: string): string {
  return path.replace(SECRET, ":token");
}

/** The template of the route that Express matched, such as `/orders/:id`; undefined if none. */
export function routeOf(request: IncomingMessage): string | undefined {
  const route: unknown = "route" in request ? request.route : undefined;
  if (typeof route !== "object" || route === null || !("path" in route)) return undefined;
  const base = "baseUrl" in request ? String(request.baseUrl).toLowerCase() : "";
  return base + String(route.path);
}
