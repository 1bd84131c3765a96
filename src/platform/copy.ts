/**
 * A deep copy, with its own lists, objects and dates; functions, signals and bytes are shared. Plain data, which orders are
 * made of, is copied by hand: `structuredClone` takes ten times as long.
 */
export function copyOf<Value>(given: Value): Value;
export function copyOf(given: unknown): unknown {
  if (typeof given !== "object" || given === null || isShared(given)) return given;
  if (Array.isArray(given)) return given.map(copyOf);
  if (given instanceof Date) return new Date(given);
  const prototype: unknown = Object.getPrototypeOf(given);
  if (prototype !== Object.prototype && prototype !== null) return structuredClone(given);
  return Object.fromEntries(Object.entries(given).map(([name, value]) => [name, copyOf(value)]));
}

/** Whether it is there to be shared, or is read only once, as a request's body is. */
function isShared(value: unknown): boolean {
  return typeof value === "function" || value instanceof AbortSignal || value instanceof Uint8Array;
}
