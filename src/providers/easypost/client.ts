import { AsyncLocalStorage } from "node:async_hooks";
import { default as easypost } from "@easypost/api";
import {
  NotNowError,
  RequestRefusedError,
  ServiceMisconfiguredError,
  ServiceUnavailableError,
} from "../../order/ports.ts";
import { parseRetryAfter } from "../../platform/retry-after.ts";

/**
 * EasyPost's client. The package's types describe its CommonJS build, whose class is one level deeper than in the module
 * that Node loads here.
 */
export const EasyPostClient: typeof easypost.default = "default" in easypost ? easypost.default : easypost;
export type EasyPostClient = InstanceType<typeof EasyPostClient>;

/** Maximum size of a response in bytes; a shipment with all its rates has some ten thousand. */
const LARGEST_ANSWER = 1_024 * 1_024;
/** The wait of a 429 that does not say how long. Milliseconds. */
const NOT_NOW_MS = 5_000;
/** Characters of a message to quote in an error. */
const EXCERPT = 200;

/** One request. The package gives no way to pass it along. */
interface Exchange {
  readonly signal: AbortSignal;
  readonly timeoutMs: number;
  /** Aborted once it is over. */
  readonly ended: AbortSignal;
  status?: number;
  retryAfterMs?: number | undefined;
}

/** What the package lets one do to its HTTP client's requests. */
interface HttpRequest {
  timeout(ms: number): this;
  redirects(most: number): this;
  maxResponseSize(bytes: number): this;
  abort(): void;
  on(
    event: "response",
    listener: (response: { status: number; headers: Record<string, string | undefined> }) => void,
  ): this;
}

/** EasyPost answered with an error of its own. */
export class EasyPostRefusal extends RequestRefusedError {
  readonly status: number;
  /** EasyPost's code: `SHIPMENT.POSTAGE.EXISTS`. */
  readonly code: string;
  /** What it says of each field. */
  readonly faults: readonly string[];
  constructor(status: number, code: string, message: string, faults: readonly string[]) {
    super(`EasyPost refused it: ${message} (${code})`);
    this.status = status;
    this.code = code;
    this.faults = faults;
  }
}

/**
 * Calls EasyPost through its own client. That has no time limit of its own (8.9.0 ignores its option), follows redirects,
 * and stumbles over answers that are not EasyPost's: this gives each request an end, and each failure a meaning.
 */
export class EasyPostCalls {
  readonly client: EasyPostClient;
  readonly #exchanges = new AsyncLocalStorage<Exchange>();
  readonly #timeoutMs: number;

  constructor({ apiKey, url, timeoutMs }: { apiKey: string; url: string; timeoutMs: number }) {
    this.#timeoutMs = timeoutMs;
    this.client = new EasyPostClient(apiKey, {
      baseUrl: `${url.replace(/\/+$/, "")}/`,
      requestMiddleware: (request: HttpRequest) => this.#limited(request),
    });
  }

  /**
   * Makes one call with the client.
   *
   * @throws {ServiceUnavailableError} without an answer, or on 5xx: the effect is unknown
   * @throws {NotNowError} on 429, and 503 with `Retry-After`
   * @throws {ServiceMisconfiguredError} on a redirect, 401, 402, 403 and 405: nobody's order would fare better
   * @throws {EasyPostRefusal} on any other error, with EasyPost's code
   */
  async make(signal: AbortSignal, call: (client: EasyPostClient) => Promise<unknown>): Promise<unknown> {
    signal.throwIfAborted();
    const end = new AbortController();
    const exchange: Exchange = { signal, timeoutMs: this.#timeoutMs, ended: end.signal };
    try {
      return await this.#exchanges.run(exchange, () => call(this.client));
    } catch (error) {
      signal.throwIfAborted();
      throw meaningOf(error, exchange);
    } finally {
      end.abort();
    }
  }

  #limited(request: HttpRequest): HttpRequest {
    const exchange = this.#exchanges.getStore();
    if (exchange === undefined) return request;
    // A request is a promise too, so it must not be returned: its rejection would be nobody's.
    const abort = () => {
      request.abort();
    };
    exchange.signal.addEventListener("abort", abort, { once: true, signal: exchange.ended });
    return request
      .timeout(exchange.timeoutMs)
      .redirects(0)
      .maxResponseSize(LARGEST_ANSWER)
      .on("response", ({ status, headers }) => {
        exchange.status = status;
        exchange.retryAfterMs = parseRetryAfter(headers["retry-after"] ?? null);
      });
  }
}

const MISCONFIGURED = new Set([401, 402, 403, 405]);

function meaningOf(error: unknown, { status: heard, retryAfterMs, timeoutMs }: Exchange): Error {
  const status = heard ?? numberIn(error, "statusCode") ?? numberIn(error, "status");
  if (status === undefined) {
    const code = textIn(error, "code");
    const isLate = code === "ECONNABORTED" || code === "ETIMEDOUT";
    const what = isLate
      ? `did not answer within ${timeoutMs} ms`
      : `could not be reached: ${code ?? nameOf(error)}`;
    return new ServiceUnavailableError("carrier", `EasyPost ${what}`, { cause: error });
  }
  const code = shorten(textIn(error, "code") ?? "no code");
  const message = shorten(textIn(error, "message") ?? "");
  const said = `EasyPost answered ${status} (${code})`;
  if (status === 429 || (status === 503 && retryAfterMs !== undefined))
    return new NotNowError(said, retryAfterMs ?? NOT_NOW_MS);
  if (MISCONFIGURED.has(status) || (status >= 300 && status < 400))
    return new ServiceMisconfiguredError("carrier", `${said}: ${message}`);
  if (status < 300 || status === 408 || status >= 500)
    return new ServiceUnavailableError("carrier", said, { cause: error });
  return new EasyPostRefusal(status, code, message, faultsIn(error));
}

/** What EasyPost says of each field. Its suggestions repeat the address, so they are left out. */
function faultsIn(error: unknown): string[] {
  const errors: unknown = propertyOf(error, "errors");
  if (!Array.isArray(errors)) return [];
  return errors.flatMap((each: unknown) => textIn(each, "message") ?? []).map(shorten);
}

/** Makes EasyPost's text safe for an error or a record: one line, limited length. */
export function shorten(text: string): string {
  const line = text
    .toWellFormed()
    .replaceAll(/[\s\p{C}]+/gu, " ")
    .trim();
  return line.length <= EXCERPT ? line : `${line.slice(0, EXCERPT - 1)}…`.toWellFormed();
}

function nameOf(error: unknown): string {
  return error instanceof Error ? error.name : "unknown";
}

function propertyOf(value: unknown, name: string): unknown {
  if (typeof value !== "object" || value === null) return undefined;
  return Object.getOwnPropertyDescriptor(value, name)?.value;
}

function textIn(value: unknown, name: string): string | undefined {
  const found = propertyOf(value, name);
  return typeof found === "string" ? found : undefined;
}

function numberIn(value: unknown, name: string): number | undefined {
  const found = propertyOf(value, name);
  return typeof found === "number" ? found : undefined;
}
