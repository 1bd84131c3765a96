import type { ChaosOrder } from "./orders.ts";

/** An order that was answered with 202. */
export interface AcceptedOrder {
  readonly order: ChaosOrder;
  readonly id: string;
  /** The body of the first 202, byte by byte. */
  readonly body: string;
  /** When the first 202 came, milliseconds since 1970. */
  readonly acceptedAt: number;
  /** When it was first seen DELIVERED or CANCELLED. */
  endedAt: number | undefined;
}

/** One try of a request. */
export interface Attempt {
  /** Milliseconds since 1970. */
  readonly at: number;
  readonly tookMs: number;
  /** Undefined when no answer came. */
  readonly status: number | undefined;
  /** Whether the same request had been tried before. */
  readonly isRepeat: boolean;
}

/** What the customers know: the other side of the books that are audited. */
export class Ledger {
  /** By idempotency key; everything that may have reached an API. */
  readonly sent = new Map<string, ChaosOrder>();
  /** By order id. */
  readonly accepted = new Map<string, AcceptedOrder>();
  readonly attempts: Attempt[] = [];
  /** Ids of orders whose cancellation was answered with 202, and when that first was. */
  readonly cancelled = new Map<string, number>();
  /** Cancellations that came too late: 409. */
  tooLate = 0;
  /** 202s that were not the first of their order. */
  repeated202s = 0;
  /** 202s under one key that were not the same as the first: there must be none. */
  readonly contradictions: string[] = [];
  /** Answers that nobody expects: there must be none. */
  readonly surprises: string[] = [];
  readonly #byKey = new Map<string, AcceptedOrder>();
  /** Keys of which one answer did not say that it is a repeated one. */
  readonly #made = new Set<string>();

  /**
   * Notes a 202.
   *
   * @param isReplay whether it says that the order was there already; not all of one key can say otherwise, in whatever
   * order they come.
   * @returns the order when it is the first one of its key.
   */
  accept(order: ChaosOrder, body: string, isReplay: boolean): AcceptedOrder | undefined {
    if (!isReplay && this.#made.has(order.key))
      this.contradictions.push(`${order.key} was made twice: ${body}`);
    if (!isReplay) this.#made.add(order.key);
    const first = this.#byKey.get(order.key);
    if (first) {
      this.repeated202s += 1;
      if (first.body !== body) this.contradictions.push(`${first.id}: first ${first.body}, then ${body}`);
      return undefined;
    }
    const id = idOf(body);
    if (id === undefined) {
      this.surprises.push(`a 202 without an order's id: ${body.slice(0, 200)}`);
      return undefined;
    }
    const taken = this.accepted.get(id);
    if (taken) this.contradictions.push(`${id}: stands for ${taken.order.key} and for ${order.key}`);
    const accepted = { order, id, body, acceptedAt: Date.now(), endedAt: undefined };
    this.#byKey.set(order.key, accepted);
    this.accepted.set(id, accepted);
    return accepted;
  }

  /** The order that this key stands for, if it was accepted. */
  ofKey(key: string): AcceptedOrder | undefined {
    return this.#byKey.get(key);
  }

  /** Accepted orders that nobody has seen the end of yet. */
  get open(): AcceptedOrder[] {
    return [...this.accepted.values()].filter(({ endedAt }) => endedAt === undefined);
  }
}

function idOf(body: string): string | undefined {
  const parsed: unknown = JSON.parse(body);
  const id = typeof parsed === "object" && parsed !== null && "id" in parsed ? parsed.id : undefined;
  return typeof id === "string" ? id : undefined;
}
