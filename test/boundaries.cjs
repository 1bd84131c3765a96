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
  workers: [
    "src/order",
    "src/platform",
    "src/engine",
    "src/providers",
    "src/events",
    "src/composition",
    "db",
    "queues",
  ],
};

/** A folder with all that is in it, or one file. */
const inside = (place) => (place.endsWith(".ts") ? `^${place}$` : `^${place}/`);

module.exports = {
  forbidden: [{ name: "no-cycle", severity: "error", from: {}, to: { circular: true } }],
  allowed: [
    ...Object.entries(MAY_IMPORT).map(([room, others]) => ({
      from: { path: inside(room) },
      to: { path: [room, ...others].map(inside) },
    })),
    // Libraries and Node itself are for everybody but the business.
    { from: { pathNot: inside("src/order") }, to: { dependencyTypes: ["npm", "npm-dev", "core"] } },
    { from: { path: "^(src|workers)/" }, to: { path: "^package\\.json$" } },
    // The composition, which every process shares, and those that stand around the service.
    { from: { path: "^(src/composition/|src/main\\.ts$|workers/main\\.ts$|tools/|test/|docs/)" }, to: {} },
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
