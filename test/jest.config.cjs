const os = require("node:os");
const longRuns = require("./long-runs.cjs");

/** Tests run as CommonJS through swc: no experimental VM flag, and the same sources that tsx and tsc take. */
module.exports = {
  rootDir: "..",
  testEnvironment: "node",
  // Most of them wait: for locks to run out, for processes to start. Each has a Redis database of its own, of 16.
  maxWorkers: Math.min(8, Math.max(3, os.availableParallelism())),
  testMatch: ["<rootDir>/test/**/*.test.ts"],
  testPathIgnorePatterns: [
    "/node_modules/",
    ...longRuns.map((name) => `<rootDir>/test/${name}\\.test\\.ts$`),
  ],
  // Above what waitFor() waits, so that its message is what is seen.
  testTimeout: 90_000,
  globalSetup: "<rootDir>/test/support/global-setup.ts",
  globalTeardown: "<rootDir>/test/support/global-teardown.ts",
  // A process of jest takes a while to end when the machine is busy. One that never does keeps a handle open.
  workerGracefulExitTimeout: 30_000,
  reporters: ["default", "<rootDir>/test/support/slowest-reporter.cjs"],
  transform: {
    "^.+\\.[jt]s$": [
      "@swc/jest",
      { jsc: { target: "es2023", parser: { syntax: "typescript" } }, module: { type: "commonjs" } },
    ],
  },
  // Jest has a module loader of its own, and refuses hooks for Node's.
  moduleNameMapper: {
    "/composition/load-module\\.ts$|^\\./load-module\\.ts$": "<rootDir>/test/support/load-module.ts",
  },
  // Compiled copies of this project.
  modulePathIgnorePatterns: ["<rootDir>/.local", "<rootDir>/dist"],
  // Packages that ship ES modules only.
  transformIgnorePatterns: [
    "/node_modules/(?!(uuid|p-limit|yocto-queue|@seriousme/openapi-schema-validator)/)",
  ],
};
