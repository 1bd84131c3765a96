/**
 * Shares the result of `work` among callers: calls within `freshMs` after it started get the same promise.
 * Failures are not cached.
 */
export function shared<T>(freshMs: number, work: () => Promise<T>): () => Promise<T> {
  let latest: { readonly result: Promise<T>; readonly beganAt: number } | undefined;
  return () => {
    const now = performance.now();
    if (latest && now - latest.beganAt < freshMs) return latest.result;
    const result = work();
    const begun = { result, beganAt: now };
    latest = begun;
    result.catch(() => {
      if (latest === begun) latest = undefined;
    });
    return result;
  };
}
