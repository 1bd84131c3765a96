import { isUtf8 } from "node:buffer";
import { z } from "zod";
import { LIMITS } from "../../order/limits.ts";
import {
  AlreadyUndoneError,
  NotNowError,
  RequestRefusedError,
  ServiceMisconfiguredError,
  ServiceUnavailableError,
  type ServiceName,
} from "../../order/ports.ts";
import { repeatedNames } from "../../platform/json.ts";
import { redactor } from "../../platform/redact.ts";
import { parseRetryAfter } from "../../platform/retry-after.ts";
import { fetchFresh, fetchOnce, StaleConnectionError } from "../../platform/stale-connection.ts";
import { sign } from "../../platform/signature.ts";
import { withinTime } from "../../platform/time-limit.ts";
import { timestamp } from "../../platform/clock.ts";
import { mismatch } from "./mismatch.ts";

/** The version of the contract of docs/http-stages.md. */
export const CONTRACT = "1";

/** The address of an outside service. */
export interface ServiceAddress {
  /** Where it takes POST requests; http or https. */
  readonly url: string;
  /** Timeout in milliseconds; shorter than that of a stage's attempt, so that the service gets the blame. */
  readonly timeoutMs?: number;
  /** Sign the requests; unsigned without. */
  readonly secrets?: readonly string[];
}

/** What becomes of a request whose connection, one of before, was found closed. In no case does it cost an attempt. */
type Stale =
  /** It goes out again at once, under the same key. */
  | "repeat"
  /** The caller looks up first what has become of it. */
  | "look up";

/** A request of docs/http-stages.md. */
export interface SignedRequest {
  /** The idempotency key. */
  readonly id: string;
  /** Sent as JSON. */
  readonly body: object;
  readonly signal: AbortSignal;
  /** Redacted from errors, in case the response repeats it. */
  readonly secret?: string | null;
}

const DEFAULT_TIMEOUT_MS = 5_000;
/** The wait of a 429 that does not say how long. Milliseconds. */
const NOT_NOW_MS = 5_000;
/** What a gateway in front of a service answers while that is away. To a ping, anything else means that it is up. */
export const AWAY = new Set([502, 503, 504]);
/** Who answers like this is another service, or refuses us: each order would fare the same. */
const MISCONFIGURED = new Set([401, 403, 404, 405, 413, 501]);
/** Who answers like this can make nothing of the request. */
const REFUSED = new Set([400, 422]);
/** Maximum size of a response in bytes; a few hundred are expected. */
const LARGEST_ANSWER = 64 * 1024;
/** Characters of a response to quote in an error. */
const EXCERPT = 200;
/** Bounds of a `snooze`. Milliseconds. */
const SOONEST_MS = 100;
const LATEST_MS = 24 * 60 * 60 * 1_000;

const A_TEXT = { error: "must be a text that is not empty" };
const A_TIME = { error: "must be a number of milliseconds" };
/** The answer of a service that says no. */
export const rejected = z.strictObject({ reject: z.string(A_TEXT).min(1, A_TEXT) });
/** The answer of a service that wants to be asked again, after milliseconds. */
export const snoozed = z.strictObject({
  snooze: z.number(A_TIME).nonnegative(A_TIME).transform(snoozeWithin),
});

/** Brings a `snooze` within its bounds. */
export function snoozeWithin(ms: number): number {
  return Math.min(Math.max(ms, SOONEST_MS), LATEST_MS);
}

/**
 * Client for one outside service that speaks docs/http-stages.md: a stage's, or a provider's (docs/providers.md). It tells
 * a service that is away from one that does not understand.
 */
export class ServiceClient {
  readonly #service: ServiceName;
  readonly #url: string;
  readonly #timeoutMs: number;
  readonly #secrets: readonly string[];
  readonly #stale: Stale;

  constructor(
    service: ServiceName,
    { url, timeoutMs = DEFAULT_TIMEOUT_MS, secrets = [] }: ServiceAddress,
    stale: Stale = "repeat",
  ) {
    this.#stale = stale;
    this.#secrets = secrets;
    this.#service = service;
    this.#url = url;
    this.#timeoutMs = timeoutMs;
  }

  /** Whether anybody answers at the URL, whatever it is. @throws {ServiceUnavailableError} the signal's reason */
  async ping(signal: AbortSignal): Promise<void> {
    const { status } = await this.#exchange({ method: "GET", signal });
    if (AWAY.has(status)) throw this.#unavailable(`answered ${status}`);
  }

  /**
   * Posts a signed request, and returns the response if its status is 2xx or none of these:
   *
   * @throws {ServiceUnavailableError} on 408, 5xx, a timeout or a connection error: the effect is unknown
   * @throws {NotNowError} on 429, and 503 with `Retry-After`
   * @throws {RequestRefusedError} on 400 and 422
   * @throws {ServiceMisconfiguredError} on a redirect, 401, 403, 404, 405, 413 and 501
   */
  async post({ id, body, signal, secret }: SignedRequest): Promise<ServiceAnswer> {
    const text = JSON.stringify(body);
    const headers = {
      "Conveyor-Contract": CONTRACT,
      "Conveyor-Timeout-Ms": String(this.#timeoutMs),
      ...(this.#secrets.length > 0
        ? sign(this.#secrets, { id, at: timestamp(), body: text })
        : { "webhook-id": id }),
    };
    const exchange = await this.#exchange({ method: "POST", headers, text, signal });
    const { status, retryAfterMs } = exchange;
    const answer = new ServiceAnswer(this.#service, exchange, secret);
    if (status === 429 || (status === 503 && retryAfterMs !== undefined))
      throw new NotNowError(answer.unexpected().message, retryAfterMs ?? NOT_NOW_MS);
    if ((status >= 300 && status <= 399) || MISCONFIGURED.has(status))
      throw new ServiceMisconfiguredError(this.#service, answer.unexpected().message);
    if (status === 408 || status >= 500) throw this.#unavailable(`answered ${status}`);
    if (REFUSED.has(status)) throw new RequestRefusedError(answer.unexpected().message);
    return answer;
  }

  /**
   * Has the service do its work. The answer is a 200 with one of these bodies.
   *
   * @throws {AlreadyUndoneError} on 410, and like {@link post}
   */
  async run<Body extends z.ZodType>(request: SignedRequest, body: Body): Promise<z.output<Body>> {
    const answer = await this.post(request);
    if (answer.status === 410) throw new AlreadyUndoneError(answer.unexpected().message);
    if (answer.status !== 200) throw answer.unexpected();
    return answer.read(body);
  }

  /**
   * Has the service undo its work.
   *
   * @returns undefined where the answer has no body, because there was nothing to undo. @throws like {@link post}
   */
  async undo<Body extends z.ZodType>(
    request: SignedRequest,
    body: Body,
  ): Promise<z.output<Body> | undefined> {
    const answer = await this.post(request);
    const { status } = answer;
    if (status === 204 || status === 410 || (status === 200 && answer.isEmpty)) return undefined;
    if (status !== 200) throw answer.unexpected();
    return answer.read(body);
  }

  async #exchange({ method, headers, text, signal }: Exchanged): Promise<Exchange> {
    signal.throwIfAborted();
    const request: RequestInit = {
      method,
      headers: {
        Accept: "application/json",
        ...(text !== undefined && { "Content-Type": "application/json" }),
        ...headers,
      },
      redirect: "manual",
      ...(text !== undefined && { body: text }),
    };
    return withinTime(this.#timeoutMs, signal, async (deadline) => {
      try {
        const ask = method === "GET" || this.#stale === "repeat" ? fetchFresh : fetchOnce;
        const response = await ask(this.#url, { ...request, signal: deadline });
        const retryAfterMs = parseRetryAfter(response.headers.get("retry-after"));
        return { status: response.status, text: await read(response), retryAfterMs };
      } catch (error) {
        signal.throwIfAborted();
        if (error instanceof StaleConnectionError)
          throw new NotNowError(`${this.#service} closed the connection`, SOONEST_MS);
        if (deadline.aborted)
          throw this.#unavailable(`did not answer within ${this.#timeoutMs} ms`, { cause: error });
        // No connection, a broken one, or a response that is not HTTP.
        throw this.#unavailable(`could not be reached: ${reasonOf(error)}`, { cause: error });
      }
    });
  }

  #unavailable(what: string, options?: ErrorOptions): ServiceUnavailableError {
    return new ServiceUnavailableError(this.#service, `${this.#service} ${what}`, options);
  }
}

interface Exchanged {
  readonly method: "GET" | "POST";
  readonly headers?: Readonly<Record<string, string>>;
  /** JSON. */
  readonly text?: string | undefined;
  readonly signal: AbortSignal;
}

interface Exchange {
  readonly status: number;
  /** The response's `Retry-After`. */
  readonly retryAfterMs: number | undefined;
  /** Undefined if it is too large. */
  readonly text: string | undefined;
}

/** A service's response, to be parsed with the schema for its status. */
export class ServiceAnswer {
  readonly status: number;
  /** The time after which it wants to be asked again, in milliseconds. */
  readonly retryAfterMs: number | undefined;
  readonly #service: ServiceName;
  readonly #text: string | undefined;
  readonly #secret: string | null | undefined;

  constructor(
    service: ServiceName,
    { status, text, retryAfterMs }: Exchange,
    secret: string | null | undefined,
  ) {
    this.#service = service;
    this.status = status;
    this.retryAfterMs = retryAfterMs;
    this.#text = text;
    this.#secret = secret;
  }

  /** Parses the body; makes the reason to reject an order safe for its record. @throws {Error} if it does not match the schema */
  read<Schema extends z.ZodType>(schema: Schema): z.output<Schema> {
    const body = this.#json();
    const [repeated] = body === undefined ? [] : repeatedNames(this.#text ?? "");
    if (repeated !== undefined) throw this.unexpected(`${repeated} stands twice in its object`);
    const no = rejected.safeParse(body);
    const parsed = schema.safeParse(
      no.success ? { reject: this.shorten(no.data.reject, LIMITS.reason) } : body,
    );
    if (!parsed.success) throw this.unexpected(body === undefined ? undefined : mismatch(parsed.error));
    return parsed.data;
  }

  /**
   * An error with the status and the start of the response, on one line and without the secret.
   *
   * @param why what is wrong with the body
   */
  unexpected(why?: string): Error {
    const excerpt = this.#text === undefined ? `more than ${LARGEST_ANSWER} bytes` : this.shorten(this.#text);
    const because = why === undefined ? "" : `; ${this.shorten(why)}`;
    return new Error(
      `${this.#service} answered ${this.status} unexpectedly: ${excerpt || "no body"}${because}`,
    );
  }

  /** Whether the body is empty. */
  get isEmpty(): boolean {
    return this.#text === "";
  }

  /** Makes a service's text safe for an error or a record: one line, limited length, without the secret. */
  shorten(text: string, most = EXCERPT): string {
    return safeLine(text, { most, secret: this.#secret });
  }

  #json(): unknown {
    try {
      return JSON.parse(this.#text ?? "");
    } catch {
      return undefined;
    }
  }
}

/** Makes a service's text safe for an error or a record: one line, limited length, without the secret. */
export function safeLine(
  text: string,
  { most, secret }: { readonly most: number; readonly secret?: string | null | undefined },
): string {
  const safe = redactor(secret ? [secret] : [])(text);
  const line = safe.replaceAll(/[\s\p{C}]+/gu, " ").trim();
  const characters = Array.from(line);
  return characters.length <= most ? line : `${characters.slice(0, most - 1).join("")}…`;
}

async function read(response: Response): Promise<string | undefined> {
  if (response.body === null) return "";
  const chunks: Uint8Array[] = [];
  let size = 0;
  // Leaving the loop closes the connection.
  for await (const chunk of response.body as AsyncIterable<Uint8Array>) {
    size += chunk.byteLength;
    if (size > LARGEST_ANSWER) return undefined;
    chunks.push(chunk);
  }
  const bytes = Buffer.concat(chunks);
  const text = bytes.toString("utf8");
  // Replacement characters would make two ids one. This is no JSON, and tells in an error why.
  if (!isUtf8(bytes)) return `not UTF-8: ${text}`;
  // Nor is this, which nobody would see.
  return text.startsWith("\uFEFF") ? `a byte order mark, before ${text.slice(1)}` : text;
}

/** fetch's own message is always "fetch failed" or "terminated"; the cause has the details. */
function reasonOf(error: unknown): string {
  const cause = typeof error === "object" && error !== null && "cause" in error ? error.cause : undefined;
  for (const each of [cause, error]) {
    if (typeof each !== "object" || each === null) continue;
    if ("code" in each && typeof each.code === "string") return each.code;
    if ("message" in each && typeof each.message === "string") return each.message;
  }
  return String(error);
}
