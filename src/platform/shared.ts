/**
 * Shares the runs of `work`: callers get the one that is under way, or that began less than `freshMs` ago. A failure is
 * not kept.
 */
export function shared<T>(freshMs: number, work: () => Promise<T>): () => Promise<T> {
  let latest: Promise<T> | undefined;
  let freshUntil = -Infinity;
  return () => {
    const now = performance.now();
    if (latest && now < freshUntil) return latest;
    freshUntil = Infinity;
    latest = work();
    latest.then(
      () => (freshUntil = now + freshMs),
      () => (latest = undefined),
    );
    return latest;
  };
}
