import { createRequire } from "node:module";
import path from "node:path";
import { route, type Route } from "../route.ts";
import { PAGE } from "./context.ts";
import { ROOT } from "./layout.ts";

const require = createRequire(import.meta.url);
const OWN = path.join(import.meta.dirname, "assets");

/**
 * The pages' assets, by name. Libraries are served from their packages, so that pages load nothing from
 * elsewhere.
 */
const FILES: Readonly<Record<string, string>> = {
  "console.css": path.join(OWN, "console.css"),
  "console.js": path.join(OWN, "console.js"),
  "stream.js": path.join(OWN, "stream.js"),
  "icon.svg": path.join(OWN, "icon.svg"),
  "htmx.js": inPackage("htmx.org", "dist/htmx.min.js"),
  "uplot.js": inPackage("uplot", "dist/uPlot.iife.min.js"),
  "uplot.css": inPackage("uplot", "dist/uPlot.min.css"),
};

/** Serves the assets. Browsers revalidate them each time, so a new version takes effect at once. */
export const assetRoutes: readonly Route[] = Object.entries(FILES).map(([name, file]) =>
  route({
    ...PAGE,
    path: `${ROOT}/assets/${name}`,
    handler: ({ response }) => {
      // Relative to its own folder: Express never serves from below a dot folder, which this project may be in.
      response.sendFile(path.basename(file), { root: path.dirname(file), maxAge: 0 });
    },
  }),
);

function inPackage(name: string, file: string): string {
  return path.join(path.dirname(require.resolve(`${name}/package.json`)), file);
}
