/**
 * Work whose result many callers share: who asks while it is under way, or within so many milliseconds after it began,
 * is given the same. A failure is nobody's but those who wait for it.
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
