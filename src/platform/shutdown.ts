import type { Logger } from "./log.ts";
import type { Services } from "./service.ts";

/** Milliseconds to close connections after the services' deadline. */
const LAST_MOMENT_MS = 5_000;

/**
 * On SIGTERM or SIGINT, stops the services and exits with 0. After the deadline (plus a few seconds), or on a second
 * signal, the process exits with 1; nothing is lost, it only takes longer to continue elsewhere.
 *
 * @param timeoutMs milliseconds for all services together
 */
export function shutDownOnSignal(options: {
  readonly log: Logger;
  readonly timeoutMs: number;
  readonly services: Services;
}): void {
  const { log, timeoutMs, services } = options;
  let stopping = false;
  const stop = async (signal: NodeJS.Signals): Promise<void> => {
    if (stopping) {
      log.warn({ signal }, "second signal: exiting at once");
      process.exit(1);
    }
    stopping = true;
    log.info({ signal }, "shutting down");
    setTimeout(() => {
      log.error({ timeoutMs }, "shutdown took too long: exiting");
      process.exit(1);
    }, timeoutMs + LAST_MOMENT_MS).unref();
    await services.stop();
    log.info("stopped");
    process.exit(0);
  };
  process.on("SIGTERM", (signal) => void stop(signal));
  process.on("SIGINT", (signal) => void stop(signal));
}
