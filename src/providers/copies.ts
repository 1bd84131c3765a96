import { copyOf } from "../platform/copy.ts";

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
