import type { z } from "zod";
import { ServiceUnavailableError, type Ports } from "../../order/ports.ts";
import { withinTime } from "../../platform/time-limit.ts";

/** The address of an outside service that implements docs/providers.md. */
export interface ServiceAddress {
  /** Base URL, http or https. */
  readonly url: string;
  /** Timeout in milliseconds; shorter than that of a stage's attempt, so that the service gets the blame. */
  readonly timeoutMs?: number;
}

export interface ServiceCall {
  readonly method: "GET" | "POST";
  /** Starts with a slash. */
  readonly path: string;
  readonly key?: string;
  /** Sent as JSON. */
  readonly body?: object;
  readonly signal: AbortSignal;
  /** Redacted from errors, in case the response repeats it. */
  readonly secret?: string | null;
}

const DEFAULT_TIMEOUT_MS = 5_000;
/** Maximum size of a response in bytes; a few hundred are expected. */
const LARGEST_ANSWER = 64 * 1024;
/** Characters of a response to quote in an error. */
const EXCERPT = 200;

/** HTTP client for one outside service. Distinguishes an unavailable service from an unexpected response. */
export class ServiceClient {
  readonly #service: keyof Ports;
  readonly #base: string;
  readonly #timeoutMs: number;

  constructor(service: keyof Ports, { url, timeoutMs = DEFAULT_TIMEOUT_MS }: ServiceAddress) {
    this.#service = service;
    this.#base = url.replace(/\/+$/, "");
    this.#timeoutMs = timeoutMs;
  }

  /** Calls `/health`. @throws {ServiceUnavailableError} unless it answers 2xx; the signal's reason */
  async ping(signal: AbortSignal): Promise<void> {
    const { status } = await this.#exchange({ method: "GET", path: "/health", signal });
    if (status < 200 || status > 299) throw this.#unavailable(`answered ${status} to /health`);
  }

  /**
   * Returns the response, unless its status means that the service can't do its work now. That includes 500: it
   * says nothing about the call's effect, so the call must be repeated with the same key. {@link ping} tells
   * whether the service fails for everybody or only for this call.
   *
   * @throws {ServiceUnavailableError} on 429, 5xx, a timeout or a connection error; the signal's reason if it
   * was aborted
   */
  async call(call: ServiceCall): Promise<ServiceAnswer> {
    const { status, text } = await this.#exchange(call);
    if (status === 429 || status >= 500) throw this.#unavailable(`answered ${status}`);
    return new ServiceAnswer(this.#service, status, text, call.secret);
  }

  async #exchange({ method, path, key, body, signal }: ServiceCall): Promise<Exchange> {
    signal.throwIfAborted();
    const headers: Record<string, string> = { Accept: "application/json" };
    if (key !== undefined) headers["Idempotency-Key"] = key;
    if (body !== undefined) headers["Content-Type"] = "application/json";
    const request: RequestInit = { method, headers, redirect: "manual" };
    if (body !== undefined) request.body = JSON.stringify(body);

    return withinTime(this.#timeoutMs, signal, async (deadline) => {
      try {
        const response = await fetch(this.#base + path, { ...request, signal: deadline });
        return { status: response.status, text: await read(response) };
      } catch (error) {
        signal.throwIfAborted();
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

interface Exchange {
  readonly status: number;
  /** Undefined if it is too large. */
  readonly text: string | undefined;
}

/** A service's response, to be parsed with the schema for its status. */
export class ServiceAnswer {
  readonly status: number;
  readonly #service: keyof Ports;
  readonly #text: string | undefined;
  readonly #secret: string | null | undefined;

  constructor(
    service: keyof Ports,
    status: number,
    text: string | undefined,
    secret: string | null | undefined,
  ) {
    this.#service = service;
    this.status = status;
    this.#text = text;
    this.#secret = secret;
  }

  /** Parses the body. @throws {Error} if it does not match the schema */
  read<Schema extends z.ZodType>(schema: Schema): z.output<Schema> {
    const parsed = schema.safeParse(this.#json());
    if (!parsed.success) throw this.unexpected();
    return parsed.data;
  }

  /** An error with the status and the start of the response, on one line and without the secret. */
  unexpected(): Error {
    const excerpt = this.#text === undefined ? `more than ${LARGEST_ANSWER} bytes` : this.shorten(this.#text);
    return new Error(`${this.#service} answered ${this.status} unexpectedly: ${excerpt || "no body"}`);
  }

  /** Makes a service's text safe for an error or a record: one line, limited length, without the secret. */
  shorten(text: string): string {
    const safe = this.#secret ? redact(text, this.#secret) : text;
    const line = safe.replaceAll(/[\s\p{C}]+/gu, " ").trim();
    const characters = Array.from(line);
    return characters.length <= EXCERPT ? line : `${characters.slice(0, EXCERPT - 1).join("")}…`;
  }

  #json(): unknown {
    try {
      return JSON.parse(this.#text ?? "");
    } catch {
      return undefined;
    }
  }
}

/** Redacts the secret, both plain and JSON-escaped. */
function redact(text: string, secret: string): string {
  return [JSON.stringify(secret).slice(1, -1), secret].reduce(
    (rest, spelling) => rest.replaceAll(spelling, "[redacted]"),
    text,
  );
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
  return Buffer.concat(chunks).toString("utf8");
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
