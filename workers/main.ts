import { configure, PROCESSES } from "../src/composition/config.ts";
import { openWorker } from "../src/composition/worker.ts";
import { lifecycle } from "../src/order/lifecycle.ts";
import { announce } from "../src/platform/log.ts";
import { shutDownOnSignal } from "../src/platform/shutdown.ts";
import { runMain } from "../src/platform/startup.ts";
import { parseWorkerArguments } from "./arguments.ts";

/** The worker process. */
runMain(async () => {
  const config = await configure(PROCESSES.worker, process.env);
  const given = parseWorkerArguments(process.argv.slice(2), lifecycle.steps);
  const { log, services, metrics } = await openWorker(config, given);
  shutDownOnSignal({ log, timeoutMs: config.SHUTDOWN_TIMEOUT_MS, services });
  await services.start();
  const stages = given.steps.map((step) => step.name);
  announce(log, { stages, metrics: metrics.address }, "worker ready");
});
