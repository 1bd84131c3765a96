const config = require("./jest.config.cjs");
const longRuns = require("./long-runs.cjs");

/** The tests that `npm test` leaves out. */
module.exports = {
  ...config,
  testPathIgnorePatterns: ["/node_modules/"],
  testMatch: longRuns.map((name) => `<rootDir>/test/${name}.test.ts`),
};
