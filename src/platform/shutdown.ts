import { describeError } from "./describe-error.ts";
import type { Logger } from "./log.ts";

/** One thing to do while closing, in its turn. */
export interface ShutdownStep {
  readonly name: string;
  readonly run: () => Promise<void>;
}

/** Time for closing connections after the steps' own deadline has passed. */
const LAST_MOMENT_MS = 5_000;

/**
 * On SIGTERM or SIGINT runs the steps in order and exits with 0; a step that fails is logged and does not stop the
 * others. When the deadline (and a last moment for what should be instant) has passed, or on a second signal, the process
 * exits with 1 as it is: nothing is lost by that, it only takes longer to go on elsewhere.
 *
 * @param timeoutMs what the steps may take together.
 */
export function shutDownOnSignal(options: {
  readonly log: Logger;
  readonly timeoutMs: number;
  readonly steps: readonly ShutdownStep[];
}): void {
  const { log, timeoutMs, steps } = options;
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
    for (const step of steps) {
      try {
        await step.run();
      } catch (error) {
        log.error({ error: describeError(error), step: step.name }, "shutdown step failed");
      }
    }
    log.info("stopped");
    process.exit(0);
  };
  process.on("SIGTERM", (signal) => void stop(signal));
  process.on("SIGINT", (signal) => void stop(signal));
}
