/**
 * Does work that is to end when its time is up, or when it is called off: its signal says so then.
 *
 * `AbortSignal.any()` with `AbortSignal.timeout()` would do the same for several times the cost, since they keep their
 * timer and lists of weak references for the whole time after the work has ended.
 *
 * @param milliseconds after which the signal's reason is a `TimeoutError`. @param calledOff whose reason is passed on.
 */
export async function withinTime<T>(
  milliseconds: number,
  calledOff: AbortSignal | undefined,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const controller = new AbortController();
  const timer = setTimeout(
    () => controller.abort(new DOMException("its time is up", "TimeoutError")),
    milliseconds,
  );
  const callOff = () => controller.abort(calledOff?.reason);
  if (calledOff?.aborted) callOff();
  else calledOff?.addEventListener("abort", callOff, { once: true });
  try {
    return await work(controller.signal);
  } finally {
    clearTimeout(timer);
    calledOff?.removeEventListener("abort", callOff);
  }
}
