/**
 * npm forwards the SIGINT that the terminal has already sent to the whole group, so one Ctrl-C arrives twice.
 * Signals this close together count as one request.
 */
const SAME_REQUEST_MS = 250;
const PARENT_CHECK_MS = 500;

export interface StopRequests {
  /**
   * The first request to stop: Ctrl-C, SIGTERM, the terminal closed, or the npm that runs us exited. Called
   * once.
   */
  onStop: () => void;
  /** A further Ctrl-C or SIGTERM. */
  onStopNow: () => void;
}

/** Turns signals into requests to stop. After this call only SIGKILL ends the process directly. */
export function listenForStop({ onStop, onStopNow }: StopRequests): void {
  let firstAt: number | undefined;
  const stop = (): void => {
    if (firstAt !== undefined) return;
    firstAt = Date.now();
    onStop();
  };
  const stopOrStopNow = (): void => {
    if (firstAt === undefined) stop();
    else if (Date.now() - firstAt > SAME_REQUEST_MS) onStopNow();
  };
  process.on("SIGINT", stopOrStopNow);
  process.on("SIGTERM", stopOrStopNow);
  process.on("SIGQUIT", stopOrStopNow);
  process.on("SIGHUP", stop);
  // Run by hand, we may outlive the shell. Run by npm, npm is our parent, and whoever ended it meant us.
  if (process.env["npm_lifecycle_event"] !== undefined) onParentExit(stop);
}

function onParentExit(stop: () => void): void {
  const parent = process.ppid;
  setInterval(() => {
    if (process.ppid !== parent) stop();
  }, PARENT_CHECK_MS).unref();
}
