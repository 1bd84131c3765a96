/**
 * A provider from a module of somebody else's, with a copy of its own of all that it is asked: what it changes there would
 * change our order, for later stages and for what is written down.
 */
export function withCopies<Provider extends object>(provider: Provider): Provider {
  const copying: ProxyHandler<Provider> = {
    get(_target, name) {
      const found: unknown = Reflect.get(provider, name);
      if (typeof found !== "function") return found;
      return (...given: readonly unknown[]): unknown => Reflect.apply(found, provider, given.map(copyOf));
    },
  };
  // Not of the provider itself: a proxy must return what is frozen as it is.
  const stand: Provider = Object.create(provider);
  return new Proxy(stand, copying);
}

/**
 * Plain data, which orders are made of, by hand: `structuredClone` takes ten times as long, and every stage of every order
 * passes here.
 */
function copyOf(given: unknown): unknown {
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
