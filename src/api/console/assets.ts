import { createRequire } from "node:module";
import path from "node:path";
import { route, type Route } from "../route.ts";
import { PAGE } from "./context.ts";
import { ROOT } from "./layout.ts";

const require = createRequire(import.meta.url);
const OWN = path.join(import.meta.dirname, "assets");

/** What the pages load, by name. Libraries come out of their packages as they are: the service needs no other address. */
const FILES: Readonly<Record<string, string>> = {
  "console.css": path.join(OWN, "console.css"),
  "console.js": path.join(OWN, "console.js"),
  "icon.svg": path.join(OWN, "icon.svg"),
  "htmx.js": inPackage("htmx.org", "dist/htmx.min.js"),
  "uplot.js": inPackage("uplot", "dist/uPlot.iife.min.js"),
  "uplot.css": inPackage("uplot", "dist/uPlot.min.css"),
};

/** Looked at again by the browser each time, by date: a new version of the service is seen at once. */
export const assetRoutes: readonly Route[] = Object.entries(FILES).map(([name, file]) =>
  route({
    ...PAGE,
    path: `${ROOT}/assets/${name}`,
    handler: ({ response }) => {
      // Below its own folder: this project may lie in one whose name begins with a dot, which is never served from.
      response.sendFile(path.basename(file), { root: path.dirname(file), maxAge: 0 });
    },
  }),
);

function inPackage(name: string, file: string): string {
  return path.join(path.dirname(require.resolve(`${name}/package.json`)), file);
}
