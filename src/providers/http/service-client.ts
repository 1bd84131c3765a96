import type { z } from "zod";
import { ServiceUnavailableError, type Ports } from "../../order/ports.ts";
import { withinTime } from "../../platform/time-limit.ts";

/** An outside service, as docs/providers.md describes it. */
export interface ServiceAddress {
  /** The address that the routes are added to, http or https. */
  readonly url: string;
  /** Milliseconds that an answer may take; shorter than a stage's attempt, so that it is the service that is blamed. */
  readonly timeoutMs?: number;
}

export interface ServiceCall {
  readonly method: "GET" | "POST";
  /** Begins with a slash. */
  readonly path: string;
  readonly key?: string;
  /** Sent as JSON. */
  readonly body?: object;
  readonly signal: AbortSignal;
  /** What no error may tell, should the answer repeat it. */
  readonly secret?: string | null;
}

const DEFAULT_TIMEOUT_MS = 5_000;
/** Bytes. What is asked for has a few hundred. */
const LARGEST_ANSWER = 64 * 1024;
/** Characters of an answer that an error repeats. */
const EXCERPT = 200;

/** Asks one outside service over HTTP, and tells a service that is away from one that answers something unforeseen. */
export class ServiceClient {
  readonly #service: keyof Ports;
  readonly #base: string;
  readonly #timeoutMs: number;

  constructor(service: keyof Ports, { url, timeoutMs = DEFAULT_TIMEOUT_MS }: ServiceAddress) {
    this.#service = service;
    this.#base = url.replace(/\/+$/, "");
    this.#timeoutMs = timeoutMs;
  }

  /** Whether the service is there at all. @throws {ServiceUnavailableError} unless it says so; the signal's reason. */
  async ping(signal: AbortSignal): Promise<void> {
    const { status } = await this.#exchange({ method: "GET", path: "/health", signal });
    if (status < 200 || status > 299) throw this.#unavailable(`answered ${status} to /health`);
  }

  /**
   * The answer, whatever its status, except for those which say that the service cannot do its work at the moment.
   * A 500 is one of them: it says nothing of the call's effect, so the call has to be made again, under the same key.
   * Whether the service fails for everybody or for this call alone is what {@link ping} is for.
   *
   * @throws {ServiceUnavailableError} with 429 and 5xx, and when no answer comes in time, or none at all; the signal's
   * reason when that was aborted.
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
        // Nothing else can fail here: no connection, or one that broke, or something that is no HTTP.
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
  /** Undefined when it is too much. */
  readonly text: string | undefined;
}

/** What a service answered: to be read with the schema that belongs to its status. */
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

  /** @throws {Error} when the answer is not what the schema says. */
  read<Schema extends z.ZodType>(schema: Schema): z.output<Schema> {
    const parsed = schema.safeParse(this.#json());
    if (!parsed.success) throw this.unforeseen();
    return parsed.data;
  }

  /** An error that names the status and how the answer begins, on one line and without the secret. */
  unforeseen(): Error {
    const excerpt = this.#text === undefined ? `more than ${LARGEST_ANSWER} bytes` : this.shorten(this.#text);
    return new Error(
      `${this.#service} answered ${this.status}, which was not foreseen: ${excerpt || "nothing"}`,
    );
  }

  /** A service's own words for an error or a record: on one line, not too many, and without the secret. */
  shorten(text: string): string {
    const safe = this.#secret ? blot(text, this.#secret) : text;
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

/** The text without the secret, as it is and as it stands in JSON. */
function blot(text: string, secret: string): string {
  return [JSON.stringify(secret).slice(1, -1), secret].reduce(
    (rest, spelling) => rest.replaceAll(spelling, "[redacted]"),
    text,
  );
}

async function read(response: Response): Promise<string | undefined> {
  if (response.body === null) return "";
  const chunks: Uint8Array[] = [];
  let size = 0;
  // To leave the loop is to close the connection.
  for await (const chunk of response.body as AsyncIterable<Uint8Array>) {
    size += chunk.byteLength;
    if (size > LARGEST_ANSWER) return undefined;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}

/** What fetch says is always "fetch failed" or "terminated"; what happened is in its cause. */
function reasonOf(error: unknown): string {
  const cause = typeof error === "object" && error !== null && "cause" in error ? error.cause : undefined;
  for (const each of [cause, error]) {
    if (typeof each !== "object" || each === null) continue;
    if ("code" in each && typeof each.code === "string") return each.code;
    if ("message" in each && typeof each.message === "string") return each.message;
  }
  return String(error);
}
