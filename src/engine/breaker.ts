import type { Order } from "../order/order.ts";
import type { Ports } from "../order/ports.ts";
import type { Stage } from "../order/stage.ts";
import type { Logger } from "../platform/log.ts";
import { isOutage, StageUnavailableError } from "./outage.ts";
import type { Pings } from "./pings.ts";

/**
 * Orders of so many customers have failed since the last success, and it is not the orders: the service fails everybody.
 * Customers and not orders, so that one customer's orders never say anything about the service.
 */
const CUSTOMERS_IN_A_ROW = 5;
/** A failure says nothing about the service any more when nothing has failed for so long after it. Milliseconds. */
const FAILURE_COUNTS_FOR_MS = 900_000;
/** More than one order of a customer has failed. */
const SEVERAL = Symbol("several orders");
/** Customers whose failures are remembered; those who failed longest ago are forgotten first. */
const CUSTOMERS_REMEMBERED = 10_000;
/** A call that takes longer may hang. Milliseconds. */
const MAY_HANG_AFTER_MS = 1_000;
/** The longest that an order waits whose service fails everybody. Milliseconds. */
const LONGEST_WAIT_MS = 300_000;

/** What a breaker holds: the taking of jobs of its stage. */
export interface Gate {
  /** Takes no more jobs. */
  shut(): void;
  /** Takes a share of as many as ever. */
  ajar(): void;
  /** Takes as many as ever. */
  open(): void;
}

/** What is the matter with a stage's service. */
export type Trouble =
  /** It does not answer: the stage is held. */
  | "away"
  /** It answers again, and a share of the orders tries it. */
  | "half open"
  /** It answers pings, and fails order after order. */
  | "failing";

export interface BreakerOptions {
  readonly stage: Pick<Stage, "name">;
  readonly gate: Gate;
  readonly pings: Pick<Pings, "answers" | "lastAwayAt" | "lastLateAt">;
  /** Milliseconds between two questions whether the service is back. */
  readonly probeIntervalMs: number;
  readonly log: Logger;
  /** From 0 to below 1. */
  readonly random?: () => number;
}

/** An attempt that found its service away, as far as the order could tell. */
export interface FailedCall {
  readonly orderId: string;
  /** Whose order it is; undefined when that is not known. */
  readonly customerId: string | undefined;
  /** What did not answer, or could not do its work; undefined when that is not known. */
  readonly service: keyof Ports | undefined;
  /** When the attempt began, as `performance.now()` has it. */
  readonly startedAt: number;
  /** Whether the order was suspected already. Then its failure says nothing new about the service. */
  readonly isSuspect: boolean;
  /** How often in a row the order has been put off since its service fails everybody. */
  readonly putOffs: number;
}

/** What becomes of an order whose service failed it. */
export type Verdict =
  /** The service is away: the order waits so many milliseconds, and uses up no attempt. */
  | { readonly cause: "away"; readonly waitMs: number }
  /** The service fails everybody, or hung for a while: the same, and the order is suspected. */
  | { readonly cause: "failing"; readonly waitMs: number }
  /** The trouble is the order's own: it uses up an attempt. */
  | { readonly cause: "order" };

/**
 * The circuit breaker of one stage in one worker process (Nygard, "Release It!", 2007). It tells the trouble of a service
 * from that of an order, by a ping that is sent after the order's call has failed:
 *
 * - No answer: the service is away. The stage is held, in this process only, and the service is pinged until it answers.
 *   Then a share of the places opens, for several orders of several customers, and the first that succeeds opens all of
 *   them. No attempt is used up.
 * - An answer, and others were served since: the order's own trouble. It uses up an attempt, so that an order that nobody
 *   can serve comes to rest in the failed set.
 * - An answer, but the service may have hung for a while: it answered late, or served nobody since the call began, although
 *   another customer's call hung beside it. No attempt is used up, but the order is suspected: so this excuses it once.
 * - An answer, and orders of several customers failed with no success in between: the service fails everybody, whatever
 *   it says of itself. No attempt is used up, and each order waits longer each time. The stage stays open: each new order
 *   is a probe, and the first success ends it. As long as nothing succeeds no order comes to rest, since nobody knows
 *   better than that the service is to blame; a stage's deadline still ends them.
 */
export class StageBreaker {
  readonly #options: BreakerOptions;
  /** Whose orders have failed since the last success, with the time of the last failure. */
  readonly #failing = new Map<string, number>();
  /** Which order of each customer has failed since the customer's last success. */
  readonly #ofCustomers = new Map<string, string | typeof SEVERAL>();
  /** When each call under way began, and whose it is. */
  readonly #calls = new Set<{ readonly customerId: string; readonly startedAt: number }>();
  /** When the service last did what it was asked, or said why not. */
  #servedAt = -Infinity;
  /** What the last failure said to be away. */
  #service: keyof Ports | undefined;
  /** What the stage is held for, or was held for last. */
  #heldFor: keyof Ports | undefined;
  #gate: "open" | "shut" | "ajar" = "open";
  #probe: NodeJS.Timeout | undefined;
  #stopped = false;

  constructor(options: BreakerOptions) {
    this.#options = options;
  }

  /** What is the matter; undefined when nothing is. */
  get trouble(): Trouble | undefined {
    if (this.#gate === "shut") return "away";
    if (this.#failsEverybody()) return "failing";
    return this.#gate === "ajar" ? "half open" : undefined;
  }

  /** What the stage is held for; else what was last found away, or failing. */
  get service(): keyof Ports | undefined {
    const { trouble } = this;
    return trouble === "away" || trouble === "half open" ? this.#heldFor : this.#service;
  }

  /** Whether several orders of this customer have failed here, and none has succeeded since. */
  suspects({ customerId }: Pick<Order, "customerId">): boolean {
    return this.#ofCustomers.get(customerId) === SEVERAL;
  }

  /**
   * Does the stage's work for an order, unless the stage is held. @throws {StageUnavailableError} and what `work` throws.
   */
  async run<T>(order: Pick<Order, "customerId">, work: () => Promise<T>): Promise<T> {
    if (this.#gate === "shut") throw this.#heldError();
    const call = { customerId: order.customerId, startedAt: performance.now() };
    this.#calls.add(call);
    try {
      const result = await work();
      this.#succeeded(order);
      return result;
    } catch (error) {
      // Not what ends an attempt from outside, which is no error. Anything else shows at least that the service is there.
      if (error instanceof Error && !(error instanceof StageUnavailableError) && !isOutage(error))
        this.#answered();
      throw error;
    } finally {
      this.#calls.delete(call);
    }
  }

  /** Whose trouble it is that a service failed an order, and what becomes of the order. */
  async judge(call: FailedCall): Promise<Verdict> {
    const { pings, probeIntervalMs } = this.#options;
    const { service, startedAt } = call;
    // Before the service is pinged: when it is back by then, so are the answers to others.
    let mayHaveHung = this.#hangsForOthersThan(call);
    if (service !== undefined) {
      const answers = await pings.answers(service);
      if (!answers) this.#hold(service);
      // It may have been away when the order called, and be back by now.
      if (!answers || pings.lastAwayAt(service) >= startedAt)
        return { cause: "away", waitMs: probeIntervalMs };
      mayHaveHung ||= pings.lastLateAt(service) >= startedAt;
    }
    this.#note(call);
    return this.#failsEverybody() || (mayHaveHung && !call.isSuspect)
      ? { cause: "failing", waitMs: this.#growing(call.putOffs) }
      : { cause: "order" };
  }

  /** Asks no more. */
  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#probe);
  }

  #succeeded({ customerId }: Pick<Order, "customerId">): void {
    const { stage, log } = this.#options;
    if (this.#failsEverybody())
      log.info({ stage: stage.name, service: this.#service }, "the service serves orders again");
    this.#failing.clear();
    this.#ofCustomers.delete(customerId);
    this.#answered();
  }

  #answered(): void {
    this.#servedAt = performance.now();
    this.#release();
  }

  /** Whether a call failed in vain for long, beside one of another customer, while the service served nobody. */
  #hangsForOthersThan({ customerId, startedAt }: FailedCall): boolean {
    const since = performance.now() - MAY_HANG_AFTER_MS;
    if (startedAt > since || this.#servedAt >= startedAt) return false;
    const hangs = [...this.#calls].some((call) => call.customerId !== customerId && call.startedAt <= since);
    return hangs || [...this.#failing].some(([customer, at]) => customer !== customerId && at >= startedAt);
  }

  #note({ orderId, customerId, service, isSuspect }: FailedCall): void {
    if (customerId === undefined) return;
    const before = this.#ofCustomers.get(customerId) ?? orderId;
    remember(this.#ofCustomers, customerId, before === orderId ? orderId : SEVERAL, CUSTOMERS_REMEMBERED);

    const failedBefore = this.#failsEverybody();
    const isKnown = this.#failing.has(customerId);
    // Known suspects fail again and again while others are served: only what they begin with counts.
    if (isSuspect && !isKnown) return;
    this.#service = service ?? this.#service;
    remember(this.#failing, customerId, performance.now(), CUSTOMERS_IN_A_ROW);
    if (!failedBefore && this.#failsEverybody()) {
      const { stage, log } = this.#options;
      log.warn(
        { stage: stage.name, service: this.#service },
        "the service answers pings, and fails order after order: orders wait, and use up no attempt",
      );
    }
  }

  #failsEverybody(): boolean {
    if (this.#failing.size < CUSTOMERS_IN_A_ROW) return false;
    const since = performance.now() - FAILURE_COUNTS_FOR_MS;
    const last = Math.max(...this.#failing.values());
    if (last < since) this.#failing.clear();
    return last >= since;
  }

  /** Twice as long each time; a half of it is left to chance. */
  #growing(putOffs: number): number {
    const { probeIntervalMs, random = Math.random } = this.#options;
    const longest = Math.min(LONGEST_WAIT_MS, probeIntervalMs * 2 ** putOffs);
    return Math.max(probeIntervalMs / 2, longest / 2) + (random() * longest) / 2;
  }

  #heldError(): StageUnavailableError {
    const message = `held: ${this.#heldFor ?? "what it needs"} does not answer`;
    return new StageUnavailableError(this.#options.stage, { message });
  }

  #hold(service: keyof Ports): void {
    if (this.#gate === "shut" || this.#stopped) return;
    const { stage, gate, log } = this.#options;
    this.#service = service;
    this.#heldFor = service;
    this.#gate = "shut";
    gate.shut();
    log.warn({ stage: stage.name, service }, "circuit open: the stage is held");
    this.#probeLater();
  }

  #probeLater(): void {
    this.#probe = setTimeout(() => void this.#probeNow(), this.#options.probeIntervalMs);
  }

  async #probeNow(): Promise<void> {
    const { pings, gate, stage, log } = this.#options;
    const service = this.#heldFor;
    const answers = service === undefined || (await pings.answers(service));
    if (this.#stopped) return;
    if (!answers) {
      log.debug({ stage: stage.name, service }, "still away");
      return this.#probeLater();
    }
    this.#gate = "ajar";
    gate.ajar();
    log.info({ stage: stage.name, service }, "circuit half open: a share of the orders goes on");
  }

  #release(): void {
    if (this.#gate !== "ajar") return;
    const { stage, gate, log } = this.#options;
    this.#gate = "open";
    gate.open();
    log.info({ stage: stage.name, service: this.#heldFor }, "circuit closed: the stage goes on");
  }
}

/** Puts an entry last, and forgets the first ones when there are more than so many. */
function remember<Value>(map: Map<string, Value>, key: string, value: Value, most: number): void {
  map.delete(key);
  map.set(key, value);
  for (const oldest of map.keys()) {
    if (map.size <= most) return;
    map.delete(oldest);
  }
}
