import { Agent as HttpAgent, request as httpRequest, type IncomingMessage } from "node:http";
import { Agent as HttpsAgent, request as httpsRequest } from "node:https";
import { isIP } from "node:net";
import { hostOf } from "./address.ts";
import type { Networks } from "./networks.ts";
import { LIMITS } from "../../order/limits.ts";
import { askDns, AddressRefusedError, guardedLookup, type Resolve } from "./resolve.ts";
import { parseRetryAfter } from "./retries.ts";

/** Bytes of an answer's body that are read: no character has more than four. */
const ANSWER_BYTES = 4 * LIMITS.webhookResponse;
/** Milliseconds after which a connection that nobody uses is closed: sooner than servers commonly do. */
const IDLE_MS = 4_000;

/** How one request ended. */
export interface Answer {
  /** Null when there was none; then `error` says why. */
  readonly status: number | null;
  readonly error: string | null;
  /** The beginning of the body. */
  readonly response: string | null;
  readonly durationMs: number;
  /** What the endpoint asks for by `Retry-After`. */
  readonly retryAfterMs?: number | undefined;
}

/**
 * Posts to addresses that others have chosen: connects to public addresses and to those that are allowed, whatever names
 * lead to, follows no redirect, waits for a limited time, and reads a limited answer.
 */
export class Sender {
  readonly #networks: Networks;
  readonly #timeoutMs: number;
  readonly #http: HttpAgent;
  readonly #https: HttpsAgent;

  constructor({
    networks,
    timeoutMs,
    resolve = askDns(),
  }: {
    readonly networks: Networks;
    readonly timeoutMs: number;
    readonly resolve?: Resolve;
  }) {
    this.#networks = networks;
    this.#timeoutMs = timeoutMs;
    const options = { keepAlive: true, timeout: IDLE_MS, lookup: guardedLookup(networks, resolve) };
    this.#http = new HttpAgent(options);
    this.#https = new HttpsAgent(options);
  }

  /** Never throws: whatever happens is the answer. @param signal gives up when it aborts. */
  async post(
    address: string,
    message: { readonly headers: Readonly<Record<string, string>>; readonly body: string },
    signal?: AbortSignal,
  ): Promise<Answer> {
    const startedAt = performance.now();
    const duration = () => ({ durationMs: Math.round(performance.now() - startedAt) });
    try {
      return { ...(await this.#post(new URL(address), message, signal)), ...duration() };
    } catch (error) {
      return { status: null, error: errorText(error), response: null, ...duration() };
    }
  }

  /** Closes connections that nobody uses. */
  close(): void {
    this.#http.destroy();
    this.#https.destroy();
  }

  async #post(
    url: URL,
    message: { readonly headers: Readonly<Record<string, string>>; readonly body: string },
    signal: AbortSignal | undefined,
  ): Promise<Omit<Answer, "durationMs">> {
    const host = hostOf(url);
    if (isIP(host) !== 0 && !this.#networks.allows(host)) throw new AddressRefusedError();
    const body = Buffer.from(message.body);
    const isSecure = url.protocol === "https:";
    const request = (isSecure ? httpsRequest : httpRequest)(url, {
      method: "POST",
      agent: isSecure ? this.#https : this.#http,
      signal,
      headers: { ...message.headers, "content-length": body.length },
    });
    // For the answer's body too.
    const timer = setTimeout(() => request.destroy(new LateError(this.#timeoutMs)), this.#timeoutMs);
    try {
      const answer = await new Promise<IncomingMessage>((resolve, reject) => {
        request.on("response", resolve);
        request.on("error", reject);
        request.end(body);
      });
      return {
        status: answer.statusCode ?? null,
        error: null,
        response: await beginningOf(answer),
        retryAfterMs: parseRetryAfter(answer.headers["retry-after"]),
      };
    } finally {
      clearTimeout(timer);
    }
  }
}

class LateError extends Error {
  constructor(timeoutMs: number) {
    super(`no answer within ${timeoutMs} ms`);
  }
}

/** As much of the body as is kept: what comes after that, or too late, is of no interest. */
async function beginningOf(answer: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let length = 0;
  try {
    for await (const chunk of answer) {
      chunks.push(Buffer.from(chunk));
      length += chunks.at(-1)?.length ?? 0;
      if (length >= ANSWER_BYTES) break;
    }
  } catch {
    // The status is known, and that is what counts.
  }
  const text = Buffer.concat(chunks).subarray(0, ANSWER_BYTES).toString("utf8");
  return text.slice(0, LIMITS.webhookResponse).toWellFormed();
}

function errorText(error: unknown): string {
  // What is thrown when several addresses were tried has no text of its own.
  const first: unknown = error instanceof AggregateError ? error.errors[0] : error;
  const text = first instanceof Error ? first.message : String(first);
  return text.slice(0, LIMITS.reason);
}
