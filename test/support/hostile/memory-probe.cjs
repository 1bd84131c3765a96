// Loaded into the process under test by NODE_OPTIONS: on SIGUSR2 it collects garbage, so that what is left is what is
// really held, and writes how much that is as a line of JSON.
const { setFlagsFromString } = require("node:v8");
const { runInNewContext } = require("node:vm");

setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc");

process.on("SIGUSR2", () => {
  collect();
  // What finalizers and closed handles let go of.
  setImmediate(() => {
    collect();
    process.stdout.write(`${JSON.stringify({ level: "info", msg: "memory", ...process.memoryUsage() })}\n`);
  });
});
