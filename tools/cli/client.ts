import { setTimeout as delay } from "node:timers/promises";
import { z } from "zod";
import {
  order,
  orderEvents,
  problem,
  stock,
  stockList,
  type OrderEventBody,
  type OrderRequestBody,
  type ProblemBody,
  type StockBody,
} from "../../src/api/schemas.ts";
import { lifecycle } from "../../src/order/lifecycle.ts";
import { API_LIMITS } from "../../src/api/limits.ts";
import { errorCode, Failure } from "../shared/failure.ts";
import type { Target } from "./target.ts";
import { messageOf, printable } from "../shared/text.ts";
import { Transport, type Answer, type Exchange } from "../shared/transport.ts";

/** Milliseconds before the first retry of a request; doubles each time. */
const FIRST_PAUSE = 100;
const LONGEST_PAUSE = 5_000;
/** Transient statuses: the service is busy, restarting, or without its database. */
const TRANSIENT = new Set([429, 500, 502, 503, 504]);

const orderState = order.omit({ lines: true });
const orderStatePage = z.object({ items: z.array(orderState), nextCursor: z.string().nullable() });

/** An order without its lines. */
export type OrderState = z.output<typeof orderState>;

/** Whether an order has ended, or has failed and waits for a person. */
export function isSettled(state: OrderState): boolean {
  return state.failed !== undefined || lifecycle.hasEnded(state.status);
}

/** The answer to a new order. */
export interface Placed {
  readonly order: OrderState;
  /** Whether an earlier call with the same key made the order. */
  readonly wasThere: boolean;
}

/** The API refused the request. A retry would be refused as well. */
export class RefusedError extends Failure {
  override name = "RefusedError";
  readonly status: number;

  constructor(status: number, body: Partial<ProblemBody>) {
    const faults = body.errors?.map(({ path, message }) => (path ? `${path}: ${message}` : message)) ?? [];
    const because = faults.length > 0 ? faults.slice(0, 3).join("; ") : (body.detail ?? body.title);
    super(printable(`refused with ${status}${because ? `: ${because}` : ""}`));
    this.status = status;
  }
}

/** A request got no useful answer within the client's patience. */
export class UnreachableError extends Failure {
  override name = "UnreachableError";
  /** Whether other requests were answered meanwhile, so that this one is to blame. */
  readonly othersWereAnswered: boolean;

  constructor(message: string, othersWereAnswered: boolean) {
    super(message);
    this.othersWereAnswered = othersWereAnswered;
  }
}

export interface ClientOptions {
  /** Requests in flight at once. */
  readonly connections: number;
  /** Milliseconds for which a request is retried. */
  readonly patience: number;
  /** Aborts every request. */
  readonly signal: AbortSignal;
}

/**
 * The commands' API client. Every request is safe to repeat (orders carry an Idempotency-Key), so a request
 * that fails or meets a busy service is retried until patience runs out.
 */
export class ConveyorClient {
  readonly target: Target;
  readonly #transport: Transport;
  readonly #options: ClientOptions;
  #lastUsefulAnswer = 0;
  /** The service's time at `greet`: orders made before it are not this client's. */
  #greetedAt = 0;

  constructor(target: Target, options: ClientOptions) {
    this.target = target;
    this.#transport = new Transport(target.url, options.connections);
    this.#options = options;
  }

  /**
   * Checks, without retrying, that the service answers and accepts the key.
   * @throws {Failure} that says what to do.
   */
  async greet(): Promise<void> {
    const { url } = this.target;
    let answer: Answer;
    try {
      answer = await this.#send({ method: "GET", path: "/orders?limit=1" });
    } catch (error) {
      this.#options.signal.throwIfAborted();
      throw new Failure(`no answer from ${url.href} (${reasonOf(error)}): is the service running?`);
    }
    this.#greetedAt = Date.parse(answer.headers.date ?? "") || 0;
    if (answer.status === 401 || answer.status === 403)
      throw new Failure(`${url.href} does not accept the API key: check CONVEYOR_API_KEY`);
    if (!TRANSIENT.has(answer.status) && !orderStatePage.safeParse(jsonOf(answer)).success)
      throw new Failure(`the server at ${url.href} is not Conveyor (status ${answer.status})`);
  }

  /**
   * Places an order exactly once, however often the request is retried. @throws {RefusedError} @throws
   * {UnreachableError}
   */
  async placeOrder(body: OrderRequestBody, idempotencyKey: string): Promise<Placed> {
    const { answer, attempt } = await this.#retry({
      method: "POST",
      path: "/orders",
      headers: { "idempotency-key": idempotencyKey },
      body: JSON.stringify(body),
    });
    const placed = this.#read(orderState, answer);
    const isReplay = answer.headers["idempotent-replayed"] === "true";
    // A retry may find the order that this call made before its answer was lost.
    const isOlder = attempt === 1 || Date.parse(placed.createdAt) < this.#greetedAt;
    return { order: placed, wasThere: isReplay && isOlder };
  }

  /** Reads an order; undefined if there is none with this id. */
  async order(id: string): Promise<OrderState | undefined> {
    return this.#find(orderState, `/orders/${encodeURIComponent(id)}`);
  }

  /** An order's events, oldest first. */
  async events(id: string): Promise<OrderEventBody[]> {
    return (await this.#get(orderEvents, `/orders/${encodeURIComponent(id)}/events`)).items;
  }

  /** Reads the orders page by page, newest first, down to the id `oldest`. */
  async *orders(oldest: string, status?: string): AsyncGenerator<OrderState[]> {
    const query = new URLSearchParams({ limit: String(API_LIMITS.pageSize), ...(status ? { status } : {}) });
    for (;;) {
      const page = await this.#get(orderStatePage, `/orders?${query.toString()}`);
      const items = page.items.filter((item) => item.id >= oldest);
      yield items;
      if (page.nextCursor === null || items.length < page.items.length) return;
      query.set("cursor", page.nextCursor);
    }
  }

  /** A SKU's stock; undefined if the SKU is unknown. */
  async stock(sku: string): Promise<StockBody | undefined> {
    return this.#find(stock, `/stock/${pathSegment(sku)}`);
  }

  /**
   * Sets the quantity on hand of up to {@link API_LIMITS.stockItems} SKUs. @throws {RefusedError} 409 if it is
   * below the reserved quantity
   */
  async setStock(items: readonly { sku: string; onHand: number }[]): Promise<StockBody[]> {
    const body = JSON.stringify({ items });
    const { answer } = await this.#retry({ method: "POST", path: "/stock", headers: {}, body });
    return this.#read(stockList, answer).items;
  }

  /**
   * Adds to the stock on hand of a SKU, or takes from it, exactly once for each key. @throws {RefusedError} 409 if less
   * than the reserved quantity would be left
   */
  async adjustStock(
    sku: string,
    adjustment: { readonly delta: number; readonly reason: string },
    idempotencyKey: string,
  ): Promise<StockBody> {
    const { answer } = await this.#retry({
      method: "POST",
      path: `/stock/${pathSegment(sku)}/adjustments`,
      headers: { "idempotency-key": idempotencyKey },
      body: JSON.stringify(adjustment),
    });
    return this.#read(stock, answer);
  }

  /** Closes the connections. */
  close(): void {
    this.#transport.close();
  }

  async #get<T>(schema: z.ZodType<T>, path: string): Promise<T> {
    const { answer } = await this.#retry({ method: "GET", path, headers: {} });
    return this.#read(schema, answer);
  }

  async #find<T>(schema: z.ZodType<T>, path: string): Promise<T | undefined> {
    try {
      return await this.#get(schema, path);
    } catch (error) {
      if (error instanceof RefusedError && error.status === 404) return undefined;
      throw error;
    }
  }

  async #send(exchange: Omit<Exchange, "headers"> & Partial<Exchange>): Promise<Answer> {
    const headers = { ...exchange.headers, authorization: `Bearer ${this.target.apiKey}` };
    return this.#transport.send({ ...exchange, headers }, this.#options.signal);
  }

  /** Sends until there is a useful answer, or patience runs out. */
  async #retry(exchange: Exchange): Promise<{ answer: Answer; attempt: number }> {
    const { patience, signal } = this.#options;
    const began = Date.now();
    for (let attempt = 1; ; attempt += 1) {
      const { answer, reason } = await this.#attempt(exchange);
      if (answer && !TRANSIENT.has(answer.status)) {
        this.#lastUsefulAnswer = Date.now();
        if (answer.status >= 400) throw new RefusedError(answer.status, problemOf(answer));
        return { answer, attempt };
      }
      const pause = Math.max(pauseAfter(attempt), retryAfter(answer));
      if (Date.now() + pause - began > patience)
        throw new UnreachableError(
          `${this.target.url.href} gave no useful answer for ${patience / 1000} seconds (${reason})`,
          this.#lastUsefulAnswer > began,
        );
      await delay(pause, undefined, { signal });
    }
  }

  async #attempt(exchange: Exchange): Promise<{ answer?: Answer; reason: string }> {
    try {
      const answer = await this.#send(exchange);
      return { answer, reason: `status ${answer.status}` };
    } catch (error) {
      this.#options.signal.throwIfAborted();
      return { reason: reasonOf(error) };
    }
  }

  #read<T>(schema: z.ZodType<T>, answer: Answer): T {
    const result = schema.safeParse(jsonOf(answer));
    if (result.success) return result.data;
    throw new Failure(
      `unexpected answer from ${this.target.url.href} (status ${answer.status}): is it another version of Conveyor?`,
    );
  }
}

/** Milliseconds, with jitter, so that many clients don't retry at the same moment. */
function pauseAfter(attempt: number): number {
  return Math.min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (attempt - 1)) * (0.5 + Math.random() / 2);
}

/** The Retry-After header in milliseconds; supports seconds, not dates. */
function retryAfter(answer: Answer | undefined): number {
  return Number(answer?.headers["retry-after"] ?? 0) * 1000 || 0;
}

function pathSegment(text: string): string {
  const encoded = encodeURIComponent(text);
  return /^\.{1,2}$/.test(encoded) ? encoded.replaceAll(".", "%2E") : encoded;
}

function jsonOf(answer: Answer): unknown {
  try {
    return JSON.parse(answer.text);
  } catch {
    return undefined;
  }
}

function problemOf(answer: Answer): Partial<ProblemBody> {
  return problem.safeParse(jsonOf(answer)).data ?? {};
}

/** Prefers the code, such as `ECONNREFUSED`: the AggregateError of a host with two addresses has no message. */
function reasonOf(error: unknown): string {
  return errorCode(error) ?? messageOf(error);
}
