/** The tests that need no server: `npm run test:unit`. */
const { globalSetup: _setup, globalTeardown: _teardown, ...config } = require("./jest.config.cjs");

module.exports = { ...config, maxWorkers: "100%", testMatch: ["<rootDir>/test/unit/**/*.test.ts"] };
