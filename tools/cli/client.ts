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

/** Milliseconds before the first repetition of a request; doubles each time. */
const FIRST_PAUSE = 100;
const LONGEST_PAUSE = 5_000;
/** Busy, restarting, or without its database: the same request may succeed in a moment. */
const PASSING = new Set([429, 500, 502, 503, 504]);

const orderState = order.omit({ lines: true });
const orderStatePage = z.object({ items: z.array(orderState), nextCursor: z.string().nullable() });

/** An order as the commands follow it: without its lines. */
export type OrderState = z.output<typeof orderState>;

/** Whether nothing more happens to an order by itself: it ended, or it failed and waits for a person. */
export function isAtRest(state: OrderState): boolean {
  return state.failed !== undefined || lifecycle.hasEnded(state.status);
}

/** The answer to a new order. */
export interface Placed {
  readonly order: OrderState;
  /** Whether the order was there already when this call began: an earlier one with the same key had made it. */
  readonly wasThere: boolean;
}

/** The API understood the request and says no; sent again it would say no again. */
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

/** A request got no useful answer for as long as the client has patience. */
export class UnreachableError extends Failure {
  override name = "UnreachableError";
  /** Whether other requests were answered meanwhile: then it lies with this one. */
  readonly othersWereAnswered: boolean;

  constructor(message: string, othersWereAnswered: boolean) {
    super(message);
    this.othersWereAnswered = othersWereAnswered;
  }
}

export interface ClientOptions {
  /** Requests under way at once. */
  readonly connections: number;
  /** Milliseconds for which a request is sent again and again before it is given up. */
  readonly patience: number;
  /** Ends every request when aborted. */
  readonly signal: AbortSignal;
}

/**
 * The API as the commands use it. Every request may be sent twice without harm (orders carry an Idempotency-Key), so a
 * request that got lost, or met a service that is busy or half down, is sent again until patience ends.
 */
export class ConveyorClient {
  readonly target: Target;
  readonly #transport: Transport;
  readonly #options: ClientOptions;
  #lastUsefulAnswer = 0;
  /** The service's time when it was greeted: what it made before is not this client's. */
  #greetedAt = 0;

  constructor(target: Target, options: ClientOptions) {
    this.target = target;
    this.#transport = new Transport(target.url, options.connections);
    this.#options = options;
  }

  /**
   * Makes sure, without patience, that a service is there and takes the key.
   * @throws {Failure} with what to do.
   */
  async greet(): Promise<void> {
    const { url } = this.target;
    let answer: Answer;
    try {
      answer = await this.#send({ method: "GET", path: "/orders?limit=1" });
    } catch (error) {
      this.#options.signal.throwIfAborted();
      throw new Failure(`nothing answers at ${url.href} (${reasonOf(error)}): is the service running?`);
    }
    this.#greetedAt = Date.parse(answer.headers.date ?? "") || 0;
    if (answer.status === 401 || answer.status === 403)
      throw new Failure(`${url.href} does not accept the API key: check CONVEYOR_API_KEY`);
    if (!PASSING.has(answer.status) && !orderStatePage.safeParse(jsonOf(answer)).success)
      throw new Failure(`what answers at ${url.href} is not Conveyor (status ${answer.status})`);
  }

  /** Places an order, once however often it must be sent. @throws {RefusedError} @throws {UnreachableError} */
  async placeOrder(body: OrderRequestBody, idempotencyKey: string): Promise<Placed> {
    const { answer, attempt } = await this.#insist({
      method: "POST",
      path: "/orders",
      headers: { "idempotency-key": idempotencyKey },
      body: JSON.stringify(body),
    });
    const placed = this.#read(orderState, answer);
    const isReplay = answer.headers["idempotent-replayed"] === "true";
    // A repetition may meet the order that this very call made before its answer got lost.
    const isOlder = attempt === 1 || Date.parse(placed.createdAt) < this.#greetedAt;
    return { order: placed, wasThere: isReplay && isOlder };
  }

  /** One order as it stands; undefined when there is none of this id. */
  async order(id: string): Promise<OrderState | undefined> {
    return this.#find(orderState, `/orders/${encodeURIComponent(id)}`);
  }

  /** What happened to an order, oldest first. */
  async events(id: string): Promise<OrderEventBody[]> {
    return (await this.#get(orderEvents, `/orders/${encodeURIComponent(id)}/events`)).items;
  }

  /** Walks the orders page by page, newest first, down to the one called `oldest`. */
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

  /** What lies in stock of a SKU; undefined for one that the service never heard of. */
  async stock(sku: string): Promise<StockBody | undefined> {
    return this.#find(stock, `/stock/${pathSegment(sku)}`);
  }

  /** Sets the pieces on hand of up to {@link API_LIMITS.stockItems} SKUs. @throws {RefusedError} 409 below what is reserved */
  async setStock(items: readonly { sku: string; onHand: number }[]): Promise<StockBody[]> {
    const body = JSON.stringify({ items });
    const { answer } = await this.#insist({ method: "POST", path: "/stock", headers: {}, body });
    return this.#read(stockList, answer).items;
  }

  /** Gives up the connections. */
  close(): void {
    this.#transport.close();
  }

  async #get<T>(schema: z.ZodType<T>, path: string): Promise<T> {
    const { answer } = await this.#insist({ method: "GET", path, headers: {} });
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

  /** Sends until there is an answer that says something, or patience ends. */
  async #insist(exchange: Exchange): Promise<{ answer: Answer; attempt: number }> {
    const { patience, signal } = this.#options;
    const began = Date.now();
    for (let attempt = 1; ; attempt += 1) {
      const { answer, trouble } = await this.#attempt(exchange);
      if (answer && !PASSING.has(answer.status)) {
        this.#lastUsefulAnswer = Date.now();
        if (answer.status >= 400) throw new RefusedError(answer.status, problemOf(answer));
        return { answer, attempt };
      }
      const pause = Math.max(pauseAfter(attempt), retryAfter(answer));
      if (Date.now() + pause - began > patience)
        throw new UnreachableError(
          `${this.target.url.href} gave no useful answer for ${patience / 1000} seconds (${trouble})`,
          this.#lastUsefulAnswer > began,
        );
      await delay(pause, undefined, { signal });
    }
  }

  async #attempt(exchange: Exchange): Promise<{ answer?: Answer; trouble: string }> {
    try {
      const answer = await this.#send(exchange);
      return { answer, trouble: `status ${answer.status}` };
    } catch (error) {
      this.#options.signal.throwIfAborted();
      return { trouble: reasonOf(error) };
    }
  }

  #read<T>(schema: z.ZodType<T>, answer: Answer): T {
    const result = schema.safeParse(jsonOf(answer));
    if (result.success) return result.data;
    throw new Failure(
      `the answer of ${this.target.url.href} is not Conveyor's (status ${answer.status}): is it another version?`,
    );
  }
}

/** Milliseconds; apart from each other, so that many senders don't come back at the same moment. */
function pauseAfter(attempt: number): number {
  return Math.min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (attempt - 1)) * (0.5 + Math.random() / 2);
}

/** What the service asks for in Retry-After, in milliseconds; only seconds are understood, not dates. */
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

/** `ECONNREFUSED` says more than the empty message of an AggregateError, which a name with two addresses gives. */
function reasonOf(error: unknown): string {
  return errorCode(error) ?? messageOf(error);
}
