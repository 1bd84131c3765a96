const path = require("node:path");

const SHOWN = 10;
/** What takes less is not slow, however few there are. */
const SLOW_MS = 2_000;

/** Ends a run with its slowest files and tests, so that what makes the suite slow is seen. */
module.exports = class SlowestReporter {
  onRunComplete(_contexts, { testResults: files }) {
    const nameOf = (file) => path.relative(process.cwd(), file.testFilePath);
    show(
      "slowest files",
      files.map((file) => ({ name: nameOf(file), ms: file.perfStats.runtime })),
    );
    show(
      "slowest tests",
      files.flatMap((file) =>
        file.testResults.map((test) => ({
          name: `${nameOf(file)} "${test.fullName}"`,
          ms: test.duration ?? 0,
        })),
      ),
    );
  }
};

function show(title, all) {
  const slow = all
    .filter(({ ms }) => ms >= SLOW_MS)
    .toSorted((a, b) => b.ms - a.ms)
    .slice(0, SHOWN);
  if (slow.length === 0) return;
  const lines = slow.map(({ name, ms }) => `${(ms / 1_000).toFixed(1).padStart(7)} s  ${name}\n`);
  process.stderr.write(`\n${title}:\n${lines.join("")}`);
}
