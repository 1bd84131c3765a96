import type { Logger } from "./log.ts";
import type { Services } from "./service.ts";

/** Milliseconds to close connections after the services' deadline. */
const LAST_MOMENT_MS = 5_000;

/**
 * What terminals and supervisors send to end a process, also because its time is up (SIGALRM: runit; SIGXCPU) or the power
 * is about to fail (SIGPWR). Without a handler, each would kill it. SIGUSR1 and SIGUSR2 are Node's own: the first opens the
 * debugger, on the loopback address; the second is for `--report-on-signal` and `--heapsnapshot-signal`.
 */
export const SIGNALS = ["SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGALRM", "SIGXCPU", "SIGPWR"] as const;

function exitAtOnce(): void {
  process.exit(0);
}

/**
 * On the first signal of {@link SIGNALS}, exits with 0: for a process that has nothing to stop yet, until
 * {@link shutDownOnSignal}. The first process of a container would ignore a signal without a handler.
 */
export function exitOnSignal(): void {
  for (const each of SIGNALS) process.on(each, exitAtOnce);
}

/**
 * Signals this close together are one request: npm passes on the SIGINT that the terminal has sent to the whole group,
 * and systemd may follow SIGTERM with SIGHUP.
 */
const SAME_REQUEST_MS = 250;

/**
 * On the first signal of {@link SIGNALS}, stops the services and exits with 0. After the deadline (plus a few seconds), or
 * on a second request, the process exits with 1; nothing is lost, it only takes longer to continue elsewhere. A terminal
 * that closes meanwhile (SIGHUP) makes no second request.
 *
 * @param timeoutMs milliseconds for all services together
 */
export function shutDownOnSignal(options: {
  readonly log: Logger;
  readonly timeoutMs: number;
  readonly services: Services;
}): void {
  const { log, timeoutMs, services } = options;
  let firstAt: number | undefined;
  const stop = async (signal: NodeJS.Signals): Promise<void> => {
    if (firstAt !== undefined) {
      if (signal === "SIGHUP" || performance.now() - firstAt < SAME_REQUEST_MS) return;
      log.warn({ signal }, "second signal: exiting at once");
      process.exit(1);
    }
    firstAt = performance.now();
    log.info({ signal }, "shutting down");
    setTimeout(() => {
      log.error({ timeoutMs }, "shutdown took too long: exiting");
      process.exit(1);
    }, timeoutMs + LAST_MOMENT_MS).unref();
    await services.stop();
    log.info("stopped");
    process.exit(0);
  };
  for (const each of SIGNALS) process.on(each, (signal) => void stop(signal)).off(each, exitAtOnce);
}
