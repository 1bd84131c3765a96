import { isIP } from "node:net";
import type { Request, RequestHandler, Response } from "express";
import { Problem } from "./problem.ts";

/** Where the API is reached from outside: perhaps through a proxy, under another name and below a path. */
export class PublicAddress {
  /** The path that the proxy serves it below, such as `/conveyor`; empty for none. */
  readonly base: string;
  readonly #origin: string | undefined;
  readonly #names: ReadonlySet<string>;

  /** @param given `url`: `PUBLIC_URL`, without a slash at the end. `listensOn`: `HOST`. */
  constructor({ url, listensOn }: { readonly url?: string | undefined; readonly listensOn?: string } = {}) {
    const { origin, hostname, pathname } = url === undefined ? NOWHERE : new URL(url);
    this.base = pathname.replace(/\/$/, "");
    this.#origin = origin;
    this.#names = new Set([hostname, listensOn?.toLowerCase()].filter((name) => name !== undefined));
  }

  /** A request's target without the base, which some proxies pass on and others take away. */
  withoutBase(target: string): string {
    const { base } = this;
    if (base === "" || !target.startsWith(base)) return target;
    const rest = target.slice(base.length);
    if (rest === "" || rest.startsWith("?")) return `/${rest}`;
    return rest.startsWith("/") ? rest : target;
  }

  /**
   * Refuses pages under a name that is not known to be ours (DNS rebinding): a site could have its name point here, and
   * would then share the origin of the pages. No site can do that with an IP address or with `localhost`. A proxy that is
   * trusted answers for the names it forwards.
   */
  readonly servedHere: RequestHandler = (request, _response, next) => {
    const name = nameOf(request);
    if (name === undefined || !(isForwarded(request) || this.#isOurs(name))) {
      const detail = `the pages are served for ${[...this.#names, "localhost", "IP addresses"].join(", ")}, and not for ${name ?? "a request without Host"}: set PUBLIC_URL to the address that people use`;
      throw new Problem(421, "misdirected", { detail });
    }
    next();
  };

  /**
   * Refuses cross-site requests (CSRF), to which browsers attach the Basic login. Browsers name the origin in
   * `Sec-Fetch-Site`, or without TLS only in `Origin`; other clients send neither.
   */
  readonly sameSiteOnly: RequestHandler = (request, _response, next) => {
    const safe = request.method === "GET" || request.method === "HEAD";
    if (!safe && !this.#comesFromHere(request)) throw new Problem(403, "forbidden");
    next();
  };

  #comesFromHere(request: Request): boolean {
    const site = request.get("sec-fetch-site");
    if (site !== undefined) return site === "same-origin" || site === "none";
    const origin = request.get("origin");
    if (origin === undefined || origin === this.#origin) return true;
    return URL.canParse(origin) && new URL(origin).host === request.host;
  }

  #isOurs(name: string): boolean {
    return (
      this.#names.has(name) ||
      name === "localhost" ||
      name.endsWith(".localhost") ||
      isIP(name.replace(/^\[(.*)\]$/, "$1")) !== 0
    );
  }
}

const NOWHERE = { origin: undefined, hostname: undefined, pathname: "" };

/** The name under which the client, or the trusted proxy's client, has asked. */
function nameOf({ host }: Request): string | undefined {
  return host && URL.canParse(`http://${host}`) ? new URL(`http://${host}`).hostname : undefined;
}

/** Whether that name is from a trusted proxy, as Express finds it. */
function isForwarded(request: Request): boolean {
  const isTrusted: unknown = request.app.get("trust proxy fn");
  return (
    request.get("x-forwarded-host") !== undefined &&
    typeof isTrusted === "function" &&
    isTrusted(request.socket.remoteAddress, 0) === true
  );
}

const bases = new WeakMap<object, string>();

/** Has pages begin their links with this path: see {@link baseOf}. */
export function setBase(app: Response["app"], base: string): void {
  bases.set(app, base);
}

/** Where the client finds one of our paths, for links and `Location`. */
export function addressOf(response: Pick<Response, "app">, path: string): string {
  return baseOf(response) + path;
}

/** What links on a page of this response begin with. */
export function baseOf({ app }: Pick<Response, "app">): string {
  return bases.get(app) ?? "";
}
