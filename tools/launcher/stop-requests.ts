/**
 * npm passes on the SIGINT that the terminal has already sent to everybody, so one Ctrl-C arrives twice: signals this
 * close together are one request.
 */
const SAME_REQUEST_MS = 250;
const PARENT_CHECK_MS = 500;

export interface StopRequests {
  /** Asked to stop: Ctrl-C, SIGTERM, the terminal closed, or the npm that runs us gone. Called once. */
  onStop: () => void;
  /** Asked again, by Ctrl-C or SIGTERM. */
  onStopNow: () => void;
}

/** Turns signals into requests to stop. From now on no signal but SIGKILL ends this process by itself. */
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
  process.on("SIGHUP", stop);
  // Started by hand, we may well outlive the shell. Started by npm, our parent is npm, and its end was meant for us.
  if (process.env["npm_lifecycle_event"] !== undefined) onParentGone(stop);
}

function onParentGone(stop: () => void): void {
  const parent = process.ppid;
  setInterval(() => {
    if (process.ppid !== parent) stop();
  }, PARENT_CHECK_MS).unref();
}
