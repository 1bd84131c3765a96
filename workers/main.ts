import { exitOnSignal } from "../src/platform/shutdown.ts";
import { runMain } from "../src/platform/startup.ts";

/** The worker process. What it consists of is loaded after the signals have a handler, for that takes a while. */
exitOnSignal();
runMain(async () => {
  const { runWorker } = await import("../src/composition/run-worker.ts");
  await runWorker(process.argv.slice(2));
});
