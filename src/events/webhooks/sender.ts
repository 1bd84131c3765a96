import {
  Agent as HttpAgent,
  request as httpRequest,
  type ClientRequest,
  type IncomingMessage,
} from "node:http";
import { Agent as HttpsAgent, request as httpsRequest } from "node:https";
import { isIP } from "node:net";
import { addAbortSignal } from "node:stream";
import { hostOf } from "./address.ts";
import type { Networks } from "./networks.ts";
import { LIMITS } from "../../order/limits.ts";
import { COLUMN_LENGTHS } from "../../../db/column-lengths.ts";
import { parseRetryAfter } from "../../platform/retry-after.ts";
import { wasStale, wayOver, type Way } from "../../platform/stale-connection.ts";
import { isTimeout, withinTime } from "../../platform/time-limit.ts";
import { askDns, AddressRefusedError, guardedLookup, type Resolve } from "./resolve.ts";

/** Maximum bytes of a response body to read; a character has at most four. */
const ANSWER_BYTES = 4 * COLUMN_LENGTHS.webhookResponse;
/** Milliseconds after which an idle connection is closed: sooner than most servers do. */
const IDLE_MS = 4_000;
const SWITCHING_PROTOCOLS = 101;

/** The outcome of one request. */
export interface Answer {
  /** Null if there was no response; then `error` says why. */
  readonly status: number | null;
  readonly error: string | null;
  /** The beginning of the body. */
  readonly response: string | null;
  readonly durationMs: number;
  /** The response's `Retry-After`. */
  readonly retryAfterMs?: number | undefined;
}

/**
 * Posts to untrusted URLs: connects only to public and allowed addresses, whatever a name resolves to, follows no
 * redirects, and limits the time and the size of the response.
 */
export class Sender {
  readonly #networks: Networks;
  readonly #timeoutMs: number;
  readonly #lookup: ReturnType<typeof guardedLookup>;
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
    this.#lookup = guardedLookup(networks, resolve);
    const options = { keepAlive: true, timeout: IDLE_MS, lookup: this.#lookup };
    this.#http = new HttpAgent(options);
    this.#https = new HttpsAgent(options);
  }

  /** Never throws: failures are part of the answer. @param signal aborts the request. */
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
      return { status: null, error: this.#errorText(error), response: null, ...duration() };
    }
  }

  /** Closes all connections. */
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
    return withinTime(this.#timeoutMs, signal, async (patience) => {
      const send = (agent: HttpAgent | false): Promise<IncomingMessage> => {
        const request = (isSecure ? httpsRequest : httpRequest)(url, {
          method: "POST",
          agent,
          lookup: this.#lookup,
          signal: patience,
          headers: { ...message.headers, "content-length": body.length },
        });
        const answered = answerTo(request, patience);
        let way: Way | undefined;
        request.once("socket", (socket) => (way = wayOver(socket, request.reusedSocket)));
        request.end(body);
        return answered.catch((error: unknown) => {
          // A connection of its own shows whether the endpoint is well.
          if (wasStale(error, way)) return send(false);
          throw error;
        });
      };
      const answer = await send(isSecure ? this.#https : this.#http);
      return {
        status: answer.statusCode ?? null,
        error: null,
        response: await beginningOf(answer, patience),
        retryAfterMs: parseRetryAfter(answer.headers["retry-after"]),
      };
    });
  }

  #errorText(error: unknown): string {
    // The error after several addresses were tried has no message.
    const first: unknown = error instanceof AggregateError ? error.errors[0] : error;
    if (isTimeout(first)) return `no answer within ${this.#timeoutMs} ms`;
    const text = first instanceof Error ? first.message : String(first);
    return text.slice(0, LIMITS.reason);
  }
}

/**
 * Waits for the final response; its body is not read yet. Settles in any case: a connection can end without an `error`
 * event, and a 101 arrives as `upgrade`, after which the connection no longer speaks HTTP.
 *
 * @throws {Error} if the connection fails or closes first, or the signal's reason.
 */
function answerTo(request: ClientRequest, signal: AbortSignal): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    request.on("response", resolve);
    request.on("upgrade", (answer, socket) => {
      socket.destroy();
      resolve(answer);
    });
    const fail = (error: unknown) => reject(signal.aborted ? signal.reason : error);
    request.on("error", fail);
    request.on("close", () => fail(new Error("the connection was closed without a response")));
    signal.addEventListener("abort", fail);
  });
}

/**
 * Reads as much of the body as is stored; the rest, and what arrives too late, is ignored. A 101 Switching Protocols has no
 * body.
 */
async function beginningOf(answer: IncomingMessage, signal: AbortSignal): Promise<string> {
  const chunks: Buffer[] = [];
  let length = 0;
  try {
    if (answer.statusCode !== SWITCHING_PROTOCOLS)
      for await (const chunk of addAbortSignal(signal, answer)) {
        chunks.push(Buffer.from(chunk));
        length += chunks.at(-1)?.length ?? 0;
        if (length >= ANSWER_BYTES) break;
      }
  } catch {
    // The status is known, which is enough.
  }
  const text = Buffer.concat(chunks).subarray(0, ANSWER_BYTES).toString("utf8");
  return text.slice(0, COLUMN_LENGTHS.webhookResponse).toWellFormed();
}
