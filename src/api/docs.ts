import { static as serveStatic } from "express";
// Not the package itself, which loads the whole page into memory.
import getAbsoluteFSPath from "swagger-ui-dist/absolute-path.js";
import { route, type Mount, type Route } from "./route.ts";

const page = (base: string) => `<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <title>Conveyor API</title>
    <link rel="stylesheet" href="${base}/docs/assets/swagger-ui.css">
    <link rel="icon" href="${base}/docs/assets/favicon-32x32.png">
  </head>
  <body>
    <div id="api"></div>
    <script src="${base}/docs/assets/swagger-ui-bundle.js"></script>
    <script src="${base}/docs/start.js"></script>
  </body>
</html>
`;

const start = (base: string) =>
  `SwaggerUIBundle({ url: "${base}/openapi.json", dom_id: "#api", deepLinking: true });\n`;

const PAGE_ROUTE = { method: "GET", scope: "operator" } as const;

/** `/openapi.json`, and `/docs`, which shows it. All assets are served from here, so it works offline. */
export const docsRoutes: readonly (Route | Mount)[] = [
  route({
    ...PAGE_ROUTE,
    path: "/openapi.json",
    handler: ({ response }, { document }) => response.json(document),
  }),
  route({
    ...PAGE_ROUTE,
    path: "/docs",
    handler: ({ response }, { base }) => response.type("html").send(page(base)),
  }),
  route({
    ...PAGE_ROUTE,
    path: "/docs/start.js",
    handler: ({ response }, { base }) => response.type("js").send(start(base)),
  }),
  {
    mount: "/docs/assets",
    scope: "operator",
    serve: () => serveStatic(getAbsoluteFSPath(), { index: false }),
  },
];
