import { setTimeout as delay } from "node:timers/promises";
import type { Random } from "../shared/random.ts";
import { Transport, type Answer } from "../shared/transport.ts";
import { messageOf } from "../shared/text.ts";
import type { AcceptedOrder, Ledger } from "./ledger.ts";
import { API_KEY } from "./deployment.ts";
import type { ChaosOrder } from "./orders.ts";
import { between } from "./random.ts";

/** Customers retry after waiting this long for an answer. */
const PATIENCE_MS = 5_000;
const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 2_000;
/** Requests in flight to one API; others wait. */
const CONNECTIONS = 200;
/** The reason that customers give for cancelling. */
export const CUSTOMERS_REASON = "the customer changed their mind";

/** Transient statuses: the API or its database is away. */
const TRANSIENT = new Set([500, 502, 503, 504]);

type Pieces = readonly { readonly sku: string; readonly quantity: number }[];

/** The service's customers. Each repeats its request, to any API, until there is an answer. */
export class Customers {
  readonly #transports: readonly Transport[];
  readonly #ledger: Ledger;
  readonly #random: Random;
  readonly #signal: AbortSignal;
  readonly #pending = new Set<Promise<void>>();
  #isClosed = false;

  constructor(options: {
    readonly apiUrls: readonly URL[];
    readonly ledger: Ledger;
    readonly random: Random;
    readonly signal: AbortSignal;
  }) {
    this.#transports = options.apiUrls.map((url) => new Transport(url, CONNECTIONS));
    this.#ledger = options.ledger;
    this.#random = options.random;
    this.#signal = options.signal;
  }

  /** Places an order, and later perhaps cancels it, in the background. */
  place(order: ChaosOrder): void {
    this.#begin(this.#place(order));
    if (order.isTwice) this.#begin(this.#place(order));
  }

  /** One customer who places orders one after another, pausing up to `pauseMs` after each. */
  async placeInTurn(orders: readonly ChaosOrder[], pauseMs: number): Promise<void> {
    for (const order of orders) {
      const visit = this.#place(order);
      this.#begin(visit);
      await visit.catch(() => undefined);
      await delay(between(this.#random, [pauseMs / 2, pauseMs]), undefined, { signal: this.#signal });
    }
  }

  /**
   * Repeats the request of an accepted order once. Skips orders without a key, since that would place another
   * one.
   */
  repeat(accepted: AcceptedOrder): void {
    if (accepted.order.isKeyless) return;
    this.#begin(this.#place(accepted.order));
  }

  /** Asks for a refund, in minor units, until there is an answer. @param pieces of these, which go back into stock */
  refund(id: string, amount: number, key: string, pieces?: Pieces): void {
    this.#begin(this.#refund(id, amount, key, pieces));
  }

  /** The number of requests in progress. */
  get waiting(): number {
    return this.#pending.size;
  }

  /** Resolves when no request is in progress. */
  async idle(): Promise<void> {
    while (this.#pending.size > 0) await Promise.all(this.#pending);
  }

  /** Stops all retries. */
  close(): void {
    this.#isClosed = true;
    for (const transport of this.#transports) transport.close();
  }

  #begin(visit: Promise<void>): void {
    const tracked = visit
      .catch((error: unknown) => {
        if (!this.#isOver) this.#ledger.surprises.push(messageOf(error));
      })
      .finally(() => this.#pending.delete(tracked));
    this.#pending.add(tracked);
  }

  get #isOver(): boolean {
    return this.#isClosed || this.#signal.aborted;
  }

  async #place(order: ChaosOrder): Promise<void> {
    this.#ledger.sent.set(order.key, order);
    const answer = await this.#retry(
      "/orders",
      JSON.stringify(order.request),
      order.isKeyless ? {} : { "idempotency-key": order.key },
    );
    if (answer === undefined) return;
    if (answer.status !== 202) {
      this.#ledger.surprises.push(
        `POST /orders for ${order.key}: ${answer.status} ${answer.text.slice(0, 200)}`,
      );
      return;
    }
    const isReplay = answer.headers["idempotent-replayed"] === "true";
    const accepted = this.#ledger.accept(order, answer.text, isReplay);
    if (accepted && order.cancelAfter !== undefined) await this.#cancel(accepted, order.cancelAfter);
  }

  async #cancel({ id }: AcceptedOrder, afterMs: number): Promise<void> {
    await delay(afterMs, undefined, { signal: this.#signal });
    const answer = await this.#retry(
      `/orders/${id}/cancel`,
      JSON.stringify({ reason: CUSTOMERS_REASON }),
      {},
    );
    if (answer === undefined) return;
    if (answer.status === 202) this.#ledger.cancelled.set(id, Date.now());
    else if (answer.status === 409) this.#ledger.tooLate += 1;
    else
      this.#ledger.surprises.push(`POST /orders/${id}/cancel: ${answer.status} ${answer.text.slice(0, 200)}`);
  }

  async #refund(id: string, amount: number, key: string, pieces: Pieces | undefined): Promise<void> {
    const what = pieces ? { lines: pieces, restock: true } : { amount };
    const body = JSON.stringify({ ...what, reason: "arrived broken" });
    const answer = await this.#retry(`/orders/${id}/refunds`, body, { "idempotency-key": key });
    if (answer === undefined) return;
    const { refunded, surprises } = this.#ledger;
    if (answer.status === 202) refunded.set(id, [...(refunded.get(id) ?? []), amount]);
    else if (answer.status === 409) this.#ledger.notRefundable += 1;
    else surprises.push(`POST /orders/${id}/refunds: ${answer.status} ${answer.text.slice(0, 200)}`);
  }

  /** Sends until there is a useful answer; undefined if the run ends first. */
  async #retry(path: string, body: string, headers: Record<string, string>): Promise<Answer | undefined> {
    let pause = FIRST_PAUSE_MS;
    for (let isRepeat = false; !this.#isOver; isRepeat = true) {
      const answer = await this.#try(path, body, headers, isRepeat);
      if (answer && !TRANSIENT.has(answer.status)) return answer;
      // With jitter, so that customers don't all retry at once.
      await delay(between(this.#random, [pause / 2, pause]), undefined, { signal: this.#signal });
      pause = Math.min(LONGEST_PAUSE_MS, pause * 2);
    }
    return undefined;
  }

  async #try(
    path: string,
    body: string,
    headers: Record<string, string>,
    isRepeat: boolean,
  ): Promise<Answer | undefined> {
    const transport = this.#transports[this.#random.below(this.#transports.length)];
    const at = Date.now();
    const began = performance.now();
    let answer: Answer | undefined;
    try {
      answer = await transport?.send(
        { method: "POST", path, body, headers: { ...headers, authorization: `Bearer ${API_KEY}` } },
        AbortSignal.timeout(PATIENCE_MS),
      );
    } catch {
      // No answer, or too late; the request may still have arrived.
    }
    if (path === "/orders")
      this.#ledger.attempts.push({ at, tookMs: performance.now() - began, status: answer?.status, isRepeat });
    return answer;
  }
}
