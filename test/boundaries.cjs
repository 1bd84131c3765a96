/**
 * Who may import whom: an allow-list, types and dynamic imports included. Whatever stands in no line is refused, and so is
 * every cycle. `npm run boundaries` holds it; docs/architecture.md says why.
 */
const ENGINE_PORTS = "src/engine/ports.ts";
const MAY_IMPORT = {
  "src/order": [],
  "src/platform": [],
  "src/engine": ["src/order", "src/platform"],
  "src/providers": ["src/order", "src/platform", "db"],
  "src/events": ["src/order", "src/platform", "db", "queues"],
  "src/api": ["src/order", "src/platform", "src/engine", "src/providers", "src/events", "db", "queues"],
  db: ["src/order", "src/platform", ENGINE_PORTS],
  queues: ["src/order", "src/platform", ENGINE_PORTS],
  workers: ["src/order", "src/platform", "src/engine", "src/providers", "src/events", "db", "queues"],
};
/** What every process shares: puts the parts of the service together. */
const COMPOSITION = "src/composition";
const PRODUCT = ["src", "db", "queues", "workers"];
/** Where a process begins. */
const MAINS = ["src/main.ts", "workers/main.ts", "workers/isolation/main.ts"];
/** They stand around the service, and may look into all of it. */
const AROUND = ["tools", "test", "docs"];
/** The engine knows MySQL, Redis and HTTP by its ports alone. */
const ENGINE_LIBRARIES = ["p-limit"];

/** A folder with all that is in it, or one file. */
const inside = (place) => (place.endsWith(".ts") ? `^${place}$` : `^${place}/`);
const library = (name) => `(^|/)node_modules/${name}/`;

module.exports = {
  forbidden: [{ name: "no-cycle", severity: "error", from: {}, to: { circular: true } }],
  allowed: [
    ...Object.entries(MAY_IMPORT).map(([room, others]) => ({
      from: { path: inside(room) },
      to: { path: [room, ...others].map(inside) },
    })),
    // Node itself is for everybody but the business, which imports nothing; libraries are for the product too, but not
    // those that only developers have.
    { from: { path: PRODUCT.map(inside), pathNot: inside("src/order") }, to: { dependencyTypes: ["core"] } },
    {
      from: { path: PRODUCT.map(inside), pathNot: [inside("src/order"), inside("src/engine")] },
      to: { dependencyTypes: ["npm"] },
    },
    { from: { path: inside("src/engine") }, to: { path: ENGINE_LIBRARIES.map(library) } },
    { from: { path: inside("db/drizzle.config.ts") }, to: { path: library("drizzle-kit") } },
    { from: { path: ["src/platform", COMPOSITION].map(inside) }, to: { path: "^package\\.json$" } },
    { from: { path: inside(COMPOSITION) }, to: { path: PRODUCT.map(inside), pathNot: MAINS.map(inside) } },
    { from: { path: MAINS.map(inside) }, to: { path: inside(COMPOSITION) } },
    // What a configuration outside may use.
    { from: { path: inside("src/index.ts") }, to: { path: ["src/order", COMPOSITION].map(inside) } },
    { from: { path: inside("src/main.ts") }, to: { path: inside("src/platform") } },
    { from: { path: AROUND.map(inside) }, to: {} },
  ],
  allowedSeverity: "error",
  options: {
    parser: "swc",
    doNotFollow: { path: "node_modules" },
    tsPreCompilationDeps: true,
    enhancedResolveOptions: {
      exportsFields: ["exports"],
      conditionNames: ["import", "node", "types", "default"],
      extensions: [".ts", ".js", ".mjs", ".json"],
    },
  },
};
