const os = require("node:os");

/** The tests that need no server: `npm run test:unit`. */
const { globalSetup: _setup, globalTeardown: _teardown, ...config } = require("./jest.config.cjs");

module.exports = {
  ...config,
  // Half of their time is waiting: for processes to start, for a time limit to pass.
  maxWorkers: 2 * os.availableParallelism(),
  testMatch: ["<rootDir>/test/unit/**/*.test.ts"],
};
