/**
 * Waits for something only so long. What comes later is not heard of any more, be it an error; whoever can should have it
 * end as well, by a signal ({@link withinTime} in time-limit.ts).
 *
 * @param milliseconds none or fewer count as 0. @param late gives the result when the time is up, or throws.
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
