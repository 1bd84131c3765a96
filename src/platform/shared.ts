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

/** Shares the runs of `work` among callers in the same turn of the event loop. A run starts after all of them have called. */
export function sharedInTurn<T>(work: () => Promise<T>): () => Promise<T> {
  let next: Promise<T> | undefined;
  return () =>
    (next ??= new Promise<void>((resolve) => process.nextTick(resolve)).then(() => {
      next = undefined;
      return work();
    }));
}
