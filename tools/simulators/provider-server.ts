import { createHash } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { API_LIMITS } from "../../src/api/limits.ts";
import { listen } from "../../src/platform/listen.ts";
import { problem, type Answer, type Call } from "./call.ts";
import { fault as faultSchema, type Fault } from "./fault.ts";
import { operationOf, orderOfCall, STUMBLE_RATE, type Treatment } from "./poison.ts";

/** Larger than any body that Conveyor sends, which may have all of an order. */
const LARGEST_BODY = 2 * API_LIMITS.bodyBytes;
/** Longer than the callers' own timeout, so that closing an idle connection never races with a request. */
const KEEP_ALIVE_MS = 60_000;

interface ProviderServerOptions {
  /** Decides and books a call. Synchronous, so that calls can't interleave. */
  readonly handle: (call: Call) => Answer;
  /** Waited for between the work and its answer. */
  readonly beforeAnswer?: () => Promise<void>;
  /** Whether the answer to a call is lost while no other fault is set; by default none is. */
  readonly isUnanswered?: (call: Call) => boolean;
  /** Counts a call under its idempotency key. @returns the calls under this key so far. */
  readonly countAttempt: (key: string) => number;
  /** Answers a call that a fault makes fail; by default with a plain 500. */
  readonly fail?: (call: Call) => Answer;
  /** Answers calls of operators beside those below; undefined for all others. */
  readonly control?: (call: Pick<Call, "method" | "path" | "body">) => Answer | undefined;
  /** The order that a call is about; by default the `orderId` in its body. */
  readonly orderOf?: (call: Call) => string | undefined;
  /** How a poisoned order's call is to fail. */
  readonly poisonOf: (call: Call) => Treatment | undefined;
  readonly random: () => number;
  readonly latencyMs: number;
  /** The body of `GET /ledger`. */
  readonly ledger: () => object;
  /** Called with each new fault. */
  readonly onFault?: (fault: Fault) => void;
}

/** Where a provider listens. */
export interface ListenAddress {
  /** 0 picks a free one. */
  readonly port: number;
  readonly host: string;
  /** The variable that sets the port. */
  readonly variable: string;
}

/**
 * Serves one provider, misbehaving as the fault says. Whatever the fault, except for refused connections, `GET` and
 * `PUT /fault` tell and set it, and `GET /ledger` tells what is booked.
 */
export class ProviderServer {
  /** Milliseconds added to every answer. */
  latencyMs: number;
  readonly #options: ProviderServerOptions;
  readonly #server: Server;
  readonly #timers = new Set<NodeJS.Timeout>();
  /** Calls that wait for the fault to end. */
  readonly #standing = new Set<() => void>();
  #fault: Fault = { kind: "none" };
  #inFlight = 0;
  #maxInFlight = 0;
  #repeatedInFlight = 0;
  #maxRepeatedInFlight = 0;
  /** Keys, or URLs, of queries that were not answered. */
  readonly #asked = new Set<string>();

  constructor(options: ProviderServerOptions) {
    this.#options = options;
    this.latencyMs = options.latencyMs;
    this.#server = createServer((request, response) => void this.#serve(request, response));
    this.#server.keepAliveTimeout = KEEP_ALIVE_MS;
    this.#server.on("connection", (socket: Socket) => {
      if (this.#fault.kind === "refuse") socket.destroy();
    });
  }

  /** @returns the URL, without a trailing slash. */
  listen(address: ListenAddress): Promise<string> {
    return listen(this.#server, address);
  }

  get fault(): Fault {
    return this.#fault;
  }

  set fault(fault: Fault) {
    this.#fault = fault;
    this.#options.onFault?.(fault);
    for (const goOn of this.#standing) goOn();
    this.#standing.clear();
    if (fault.kind === "refuse") this.#server.closeAllConnections();
  }

  /** Calls with a key that have arrived and are not answered yet. */
  get inFlight(): number {
    return this.#inFlight;
  }

  /** The maximum of `inFlight` since the last call. */
  takeMaxInFlight(): number {
    const most = this.#maxInFlight;
    this.#maxInFlight = this.#inFlight;
    return most;
  }

  /** The same, counting only calls that repeat a key. */
  takeMaxRepeatedInFlight(): number {
    const most = this.#maxRepeatedInFlight;
    this.#maxRepeatedInFlight = this.#repeatedInFlight;
    return most;
  }

  /** Closes all connections, and drops calls that were still being delayed. */
  async close(): Promise<void> {
    for (const timer of this.#timers) clearTimeout(timer);
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    this.#server.closeAllConnections();
    await closed;
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const body = await read(request);
    if (body === undefined) return void response.destroy();
    const { method = "", url = "", headers } = request;
    const controlled = this.#control(method, url, body);
    if (controlled !== undefined) return respond(response, controlled);
    const header = headers["webhook-id"] ?? headers["idempotency-key"];
    const key = typeof header === "string" && header !== "" ? header : undefined;
    const fault = this.#fault;
    const isHealth = method === "GET" && (url === "/" || url === "/v1/balance");
    const isHit = (rate: number) => !isHealth && this.#options.random() < rate;
    const call = {
      method,
      path: url,
      key,
      body: parse(body),
      text: body,
      headers,
      authorization: headers.authorization,
    };
    const handle = async () => {
      const answer = this.#options.handle(call);
      await this.#options.beforeAnswer?.();
      return answer;
    };
    const fail = () => this.#options.fail?.(call) ?? FAILED;
    // Even while another fault is set: a poisoned order must never succeed.
    const treatment = this.#treatmentOf(call);
    if (key !== undefined && operationOf(call) !== "track")
      this.#count(this.#options.countAttempt(key) > 1, response);
    // Queries are repeated even when all is well.
    else if (treatment !== undefined) {
      this.#count(this.#asked.has(key ?? url), response);
      this.#asked.add(key ?? url);
    }

    if (this.latencyMs > 0) await this.#wait(this.latencyMs);
    // Never answered, so the caller gives up.
    if (treatment === "hangs") return;
    if (treatment === "fails" || (treatment === "stumbles" && isHit(STUMBLE_RATE)))
      return respond(response, fail());
    switch (fault.kind) {
      case "none":
      case "poisoned": {
        const answer = await handle();
        return this.#options.isUnanswered?.(call) ? void response.destroy() : respond(response, answer);
      }
      case "down":
        return respond(response, { status: 503, body: { error: "down" } });
      case "refuse":
        return void response.destroy();
      case "hangs":
        if (fault === this.#fault) await new Promise<void>((goOn) => this.#standing.add(goOn));
        return respond(response, await handle());
      case "slow":
        await this.#wait(fault.ms);
        return respond(response, await handle());
      case "errors":
        return respond(response, isHit(fault.rate) ? fail() : await handle());
      case "late": {
        const answer = await handle();
        await this.#wait(fault.ms);
        return respond(response, answer);
      }
      case "lost-reply": {
        const answer = await handle();
        return isHit(fault.rate) ? void response.destroy() : respond(response, answer);
      }
    }
  }

  /** Answers an operator or auditor; undefined for all other requests. */
  #control(method: string, url: string, body: string): Answer | undefined {
    if (method === "GET" && url === "/ledger") return { status: 200, body: this.#options.ledger() };
    const own = this.#options.control?.({ method, path: url, body: parse(body) });
    if (own !== undefined) return own;
    if (method === "GET" && url === "/fault") return { status: 200, body: this.#fault };
    if (method !== "PUT" || url !== "/fault") return undefined;
    const wanted = faultSchema.safeParse(parse(body));
    if (!wanted.success) return problem(400, wanted.error.message);
    this.fault = wanted.data;
    return { status: 200, body: wanted.data };
  }

  #count(isRepeated: boolean, response: ServerResponse): void {
    this.#maxInFlight = Math.max(this.#maxInFlight, ++this.#inFlight);
    if (isRepeated) this.#maxRepeatedInFlight = Math.max(this.#maxRepeatedInFlight, ++this.#repeatedInFlight);
    response.once("close", () => {
      this.#inFlight--;
      if (isRepeated) this.#repeatedInFlight--;
    });
  }

  #treatmentOf(call: Call): Treatment | undefined {
    const poison = this.#options.poisonOf(call);
    if (poison !== undefined || this.#fault.kind !== "poisoned") return poison;
    const orderId = (this.#options.orderOf ?? orderOfCall)(call);
    return orderId !== undefined && shareOf(orderId) < this.#fault.share ? this.#fault.treatment : undefined;
  }

  #wait(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(() => {
        this.#timers.delete(timer);
        resolve();
      }, ms);
      this.#timers.add(timer);
    });
  }
}

const FAILED: Answer = { status: 500, body: { error: "failed" } };

/** Maps an order's id to a number from 0 to below 1. */
function shareOf(orderId: string): number {
  return createHash("sha256").update(orderId).digest().readUInt32BE(0) / 2 ** 32;
}

/** The body as text; undefined if it is incomplete or too large. */
function read(request: IncomingMessage): Promise<string | undefined> {
  return new Promise((resolve) => {
    let text = "";
    request.setEncoding("utf8");
    request.on("data", (chunk: string) => {
      text += chunk;
      if (text.length > LARGEST_BODY) resolve(undefined);
    });
    request.on("end", () => resolve(text));
    request.on("close", () => resolve(undefined));
    request.on("error", () => resolve(undefined));
  });
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function respond(response: ServerResponse, { status, body, headers }: Answer): void {
  // The caller may have given up.
  if (response.destroyed) return;
  const text = body === undefined ? "" : JSON.stringify(body);
  response.writeHead(status, {
    ...headers,
    ...(body === undefined ? {} : { "Content-Type": "application/json" }),
    ...(status === 204 ? {} : { "Content-Length": Buffer.byteLength(text) }),
  });
  response.end(text);
}
