/** Ends the run with the first test that fails: more would say no more. The exit code tells it from other trouble. */
module.exports = class FirstFailure {
  static exitCode = 20;

  onTestCaseResult(_test, { status }) {
    if (status === "failed") process.exit(FirstFailure.exitCode);
  }
};
