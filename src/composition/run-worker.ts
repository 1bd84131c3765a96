import { parseWorkerArguments } from "../../workers/arguments.ts";
import { lifecycle } from "../order/lifecycle.ts";
import { announce } from "../platform/log.ts";
import { shutDownOnSignal } from "../platform/shutdown.ts";
import { configure, PROCESSES } from "./config.ts";
import { openWorker } from "./worker.ts";

/** Starts a worker, configured by the environment, and has signals stop it. @throws {ConfigError | StartupError} */
export async function runWorker(args: readonly string[]): Promise<void> {
  const config = await configure(PROCESSES.worker, process.env);
  const given = parseWorkerArguments(args, lifecycle.steps);
  const { log, services, metrics } = await openWorker(config, given);
  shutDownOnSignal({ log, timeoutMs: config.SHUTDOWN_TIMEOUT_MS, services });
  await services.start();
  const stages = given.steps.map((step) => step.name);
  announce(log, { stages, metrics: metrics.address }, "worker ready");
}
