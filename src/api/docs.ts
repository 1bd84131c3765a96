import { Router, static as serveStatic } from "express";
// Not the package itself: that loads the whole page into this process.
import getAbsoluteFSPath from "swagger-ui-dist/absolute-path.js";
import { openApiDocument } from "./openapi.ts";
import { pageHeaders } from "./pages.ts";
import { methodNotAllowed } from "./problem.ts";

const PAGE = `<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <title>Conveyor API</title>
    <link rel="stylesheet" href="/docs/assets/swagger-ui.css">
    <link rel="icon" href="/docs/assets/favicon-32x32.png">
  </head>
  <body>
    <div id="api"></div>
    <script src="/docs/assets/swagger-ui-bundle.js"></script>
    <script src="/docs/start.js"></script>
  </body>
</html>
`;

const START = `SwaggerUIBundle({ url: "/openapi.json", dom_id: "#api", deepLinking: true });\n`;

/** `/openapi.json`, and `/docs`, the page that shows it. Everything comes from this process: it works offline. */
export function docsRoutes(version: string): Router {
  const document = openApiDocument(version);
  const router = Router();
  router
    .route("/openapi.json")
    .get((_request, response) => {
      response.json(document);
    })
    .all(methodNotAllowed("GET"));
  router.use("/docs", pageHeaders);
  router
    .route("/docs")
    .get((_request, response) => {
      response.type("html").send(PAGE);
    })
    .all(methodNotAllowed("GET"));
  router
    .route("/docs/start.js")
    .get((_request, response) => {
      response.type("js").send(START);
    })
    .all(methodNotAllowed("GET"));
  router.use("/docs/assets", serveStatic(getAbsoluteFSPath(), { index: false }));
  return router;
}
