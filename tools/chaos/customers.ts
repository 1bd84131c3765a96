import { setTimeout as delay } from "node:timers/promises";
import type { Random } from "../shared/random.ts";
import { Transport, type Answer } from "../shared/transport.ts";
import { messageOf } from "../shared/text.ts";
import type { AcceptedOrder, Ledger } from "./ledger.ts";
import { API_KEY } from "./line.ts";
import type { ChaosOrder } from "./orders.ts";
import { between } from "./random.ts";

/** Customers give up waiting for an answer, and try again. */
const PATIENCE_MS = 5_000;
const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 2_000;
/** Requests to one API at once; more wait their turn. */
const CONNECTIONS = 200;
/** Why customers cancel. */
export const CUSTOMERS_REASON = "the customer changed their mind";

/** What is worth another try: an API or its database that is away. */
const PASSING = new Set([500, 502, 503, 504]);

/** Customers of the service: each repeats its request, to whatever API, until there is an answer. */
export class Customers {
  readonly #transports: readonly Transport[];
  readonly #ledger: Ledger;
  readonly #random: Random;
  readonly #signal: AbortSignal;
  readonly #underWay = new Set<Promise<void>>();
  #goesHome = false;

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

  /** Orders, and later perhaps cancels, in the background. */
  come(order: ChaosOrder): void {
    this.#begin(this.#place(order));
    if (order.isTwice) this.#begin(this.#place(order));
  }

  /** One customer, who orders one thing after the other: the next one so many milliseconds after the last was accepted. */
  async comeInTurn(orders: readonly ChaosOrder[], pauseMs: number): Promise<void> {
    for (const order of orders) {
      const visit = this.#place(order);
      this.#begin(visit);
      await visit.catch(() => undefined);
      await delay(between(this.#random, [pauseMs / 2, pauseMs]), undefined, { signal: this.#signal });
    }
  }

  /** Sends again what was accepted long ago, once; without a key that would be another order. */
  repeat(accepted: AcceptedOrder): void {
    if (accepted.order.isKeyless) return;
    this.#begin(this.#place(accepted.order));
  }

  /** How many have something under way. */
  get waiting(): number {
    return this.#underWay.size;
  }

  /** Resolves when nobody has anything under way. */
  async idle(): Promise<void> {
    while (this.#underWay.size > 0) await Promise.all(this.#underWay);
  }

  /** Nobody tries again from now on. */
  close(): void {
    this.#goesHome = true;
    for (const transport of this.#transports) transport.close();
  }

  #begin(visit: Promise<void>): void {
    const tracked = visit
      .catch((error: unknown) => {
        if (!this.#isOver) this.#ledger.surprises.push(messageOf(error));
      })
      .finally(() => this.#underWay.delete(tracked));
    this.#underWay.add(tracked);
  }

  get #isOver(): boolean {
    return this.#goesHome || this.#signal.aborted;
  }

  async #place(order: ChaosOrder): Promise<void> {
    this.#ledger.sent.set(order.key, order);
    const answer = await this.#insist(
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
    const answer = await this.#insist(
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

  /** Sends until there is an answer that says something; undefined when the run is over first. */
  async #insist(path: string, body: string, headers: Record<string, string>): Promise<Answer | undefined> {
    let pause = FIRST_PAUSE_MS;
    for (let isRepeat = false; !this.#isOver; isRepeat = true) {
      const answer = await this.#try(path, body, headers, isRepeat);
      if (answer && !PASSING.has(answer.status)) return answer;
      // Apart from each other, so that not all come back at the same moment.
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
      // Nobody answered, or not in time: it may have been heard all the same.
    }
    if (path === "/orders")
      this.#ledger.attempts.push({ at, tookMs: performance.now() - began, status: answer?.status, isRepeat });
    return answer;
  }
}
