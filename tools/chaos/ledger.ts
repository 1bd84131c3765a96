import type { ChaosOrder } from "./orders.ts";

/** An order that got a 202. */
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

/** One attempt at a request. */
export interface Attempt {
  /** Milliseconds since 1970. */
  readonly at: number;
  readonly tookMs: number;
  /** Undefined if there was no answer. */
  readonly status: number | undefined;
  /** Whether the request had been sent before. */
  readonly isRepeat: boolean;
}

/** The customers' records, to be compared with the service's. */
export class Ledger {
  /** Every request that may have reached an API, by idempotency key. */
  readonly sent = new Map<string, ChaosOrder>();
  /** Accepted orders, by id. */
  readonly accepted = new Map<string, AcceptedOrder>();
  readonly attempts: Attempt[] = [];
  /** Ids of orders whose cancellation got a 202, with the time of the first one. */
  readonly cancelled = new Map<string, number>();
  /** Refunds that got a 202, in minor units, by order. */
  readonly refunded = new Map<string, number[]>();
  /** Refunds that got a 409: so much was not left. */
  notRefundable = 0;
  /** Cancellations that got a 409 because they came too late. */
  tooLate = 0;
  /** 202s after the first one of an order. */
  repeated202s = 0;
  /** 202s that differ from the first one under their key: there must be none. */
  readonly contradictions: string[] = [];
  /** Unexpected answers: there must be none. */
  readonly surprises: string[] = [];
  readonly #byKey = new Map<string, AcceptedOrder>();
  /** Keys with an answer that was not marked as a replay. */
  readonly #made = new Set<string>();

  /**
   * Records a 202.
   *
   * @param isReplay whether the answer is marked as a replay; exactly one answer per key may not be, in any
   * order of arrival.
   * @returns the order, if this is the first 202 for its key
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
    if (taken) this.contradictions.push(`${id}: was returned for ${taken.order.key} and for ${order.key}`);
    const accepted = { order, id, body, acceptedAt: Date.now(), endedAt: undefined };
    this.#byKey.set(order.key, accepted);
    this.accepted.set(id, accepted);
    return accepted;
  }

  /** The accepted order with this key, if any. */
  ofKey(key: string): AcceptedOrder | undefined {
    return this.#byKey.get(key);
  }

  /** Accepted orders that have not been seen to end. */
  get open(): AcceptedOrder[] {
    return [...this.accepted.values()].filter(({ endedAt }) => endedAt === undefined);
  }
}

function idOf(body: string): string | undefined {
  const parsed: unknown = JSON.parse(body);
  const id = typeof parsed === "object" && parsed !== null && "id" in parsed ? parsed.id : undefined;
  return typeof id === "string" ? id : undefined;
}
