/** How long a module may take to load. One that waits for what never comes would keep its process from starting. Milliseconds. */
export const LOAD_WITHIN_MS = 30_000;

/** The timer keeps the process alive, which would otherwise end without a word. @throws {Error} when the time is up */
export async function loadedWithin<T>(milliseconds: number, work: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    const error = new Error(
      `it was not ready within ${milliseconds / 1_000} s: does it await what never comes?`,
    );
    timer = setTimeout(() => reject(error), milliseconds);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}
