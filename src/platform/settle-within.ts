/**
 * Waits for a promise with a timeout. Its later result or error is ignored. Where possible, also abort the work with a
 * signal ({@link withinTime} in time-limit.ts).
 *
 * @param milliseconds negative counts as 0. @param late gives the result on timeout, or throws.
 */
export async function settleWithin<T>(milliseconds: number, pending: Promise<T>, late: () => T): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const timeIsUp = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, Math.max(0, milliseconds));
  });
  try {
    return await Promise.race([pending, timeIsUp.then(late)]);
  } finally {
    clearTimeout(timer);
  }
}
