import type { Order } from "../order/order.ts";
import type { ServiceName } from "../order/ports.ts";
import type { Stage } from "../order/stage.ts";
import type { Logger } from "../platform/log.ts";
import { remember } from "../platform/remember.ts";
import { isOutage, StageUnavailableError } from "./outage.ts";
import type { Pings } from "./pings.ts";

/**
 * When orders of this many customers have failed since the last success, the service is failing everyone. Customers are
 * counted, not orders, so that one customer's orders say nothing about the service.
 */
const CUSTOMERS_IN_A_ROW = 5;
/** Failures expire once nothing has failed for this long. Milliseconds. */
const FAILURE_COUNTS_FOR_MS = 900_000;
/** Marks a customer of whom several orders have failed. */
const SEVERAL = Symbol("several orders");
/** Customers whose failures are remembered; the oldest are dropped first. */
const CUSTOMERS_REMEMBERED = 10_000;
/** The same for orders that a service turned away. */
const ORDERS_REMEMBERED = 1_000;
/** A call that takes longer may be hanging. Milliseconds. */
const MAY_HANG_AFTER_MS = 1_000;
/** The longest wait while a service fails everyone. Milliseconds. */
const LONGEST_WAIT_MS = 300_000;

/** What breakers control: whether their stage takes jobs. */
export interface Gate {
  /** Stops taking jobs. */
  shut(): void;
  /** Takes jobs at reduced concurrency. */
  halfOpen(): void;
  /** Takes jobs at full concurrency. */
  open(): void;
}

/** The state of a stage's service, if not healthy. */
export type Trouble =
  /** The service does not answer: the stage is held. */
  | "away"
  /** The service answers, but is not set up right: the stage is held, but for a trial now and then. */
  | "misconfigured"
  /** The service answers again, and is tried with a share of the orders. */
  | "half open"
  /** The service answers pings but fails order after order. */
  | "failing";

export interface BreakerOptions {
  readonly stage: Pick<Stage, "name">;
  /** Undefined for the one of attempts that fail without telling which service they wanted. */
  readonly service: ServiceName | undefined;
  readonly gate: Gate;
  readonly pings: Pick<Pings, "answers" | "lastAwayAt" | "lastLateAt">;
  /** The time between two pings during an outage. Milliseconds. */
  readonly probeIntervalMs: number;
  readonly log: Logger;
  /** From 0 to below 1. */
  readonly random?: () => number;
}

/** An attempt that failed because its service seemed unavailable. */
export interface FailedCall {
  readonly orderId: string;
  /** The order's customer; undefined if unknown. */
  readonly customerId: string | undefined;
  /** The service that failed; undefined if unknown. */
  readonly service: ServiceName | undefined;
  /** When the attempt began (`performance.now()`). */
  readonly startedAt: number;
  /** Whether the service gave no answer in time. */
  readonly timedOut: boolean;
  /** What the service answered, if it is not set up right. */
  readonly misconfigured?: string | undefined;
  /** Whether the order was already a suspect. Then its failure says nothing new about the service. */
  readonly isSuspect: boolean;
  /** How many times in a row the order was delayed because its service fails everyone. */
  readonly delays: number;
}

/** What happens to an order after its service failed. */
export type Verdict =
  /** The service is away, or not set up right: the order waits, and no attempt is used up. */
  | { readonly cause: "away"; readonly waitMs: number }
  /** The service fails everyone, or hung for a while: the same, and the order becomes a suspect. */
  | { readonly cause: "failing"; readonly waitMs: number }
  /** The order itself is to blame: an attempt is used up. */
  | { readonly cause: "order" };

/** A call of a service, from its beginning to the end of the attempt that made it. */
export interface ServiceCall {
  succeeded(): void;
  failed(error: unknown): void;
}

/**
 * The circuit breaker of one service in one stage and one worker process (Nygard, "Release It!", 2007). After a failed call it
 * pings the service to tell a failing service from a failing order:
 *
 * - No answer: the service is away. This process holds the stage and pings until the service answers. Then a share of
 *   the places opens, for orders of several customers; the first success opens all of them. No attempt is used up.
 * - The call itself was answered like by a service that is not set up right (a wrong address, a wrong secret): the stage
 *   is held without a ping, and a share of the orders tries it again and again. But if others were served meanwhile, the
 *   order is to blame.
 * - An answer, and other orders were served since: the order is to blame. An attempt is used up, so that an order that
 *   cannot be served ends up failed.
 * - An answer, but the service may have hung: it answered late, or served nobody since the call began while another
 *   customer's call hung too. No attempt is used up, but the order becomes a suspect, so this excuses it only once.
 * - An answer, but orders of several customers failed with no success in between: the service fails everyone, whatever
 *   its pings say. No attempt is used up, and each order waits longer each time. The stage stays open: every new order
 *   is a probe, and the first success ends this state. Until then no order ends up failed, since nothing shows that it
 *   is to blame; a stage's deadline still applies.
 */
export class ServiceBreaker {
  readonly #options: BreakerOptions;
  /** Customers with a failure since the last success, and when it was. */
  readonly #failing = new Map<string, number>();
  /** The order of each customer that failed since the customer's last success. */
  readonly #ofCustomers = new Map<string, string | typeof SEVERAL>();
  /** Calls under way, and failed ones while they are judged. */
  readonly #calls = new Set<{ readonly customerId: string | undefined; readonly startedAt: number }>();
  /** When the service last succeeded, or answered with an error of its own. */
  #servedAt = -Infinity;
  /** When the service last succeeded. */
  #succeededAt = -Infinity;
  /** What the service answered that is, or was last, not set up right. */
  #misconfigured: string | undefined;
  /** When the service last answered each of these orders like one that is not set up right. */
  readonly #turnedAway = new Map<string, number>();
  #circuit: "closed" | "open" | "half open" = "closed";
  #probe: NodeJS.Timeout | undefined;
  #stopped = false;

  constructor(options: BreakerOptions) {
    this.#options = options;
  }

  /** The current trouble; undefined if healthy. */
  get trouble(): Trouble | undefined {
    if (this.#misconfigured !== undefined && this.#circuit !== "closed") return "misconfigured";
    if (this.#circuit === "open") return "away";
    if (this.#failsEverybody()) return "failing";
    return this.#circuit === "half open" ? "half open" : undefined;
  }

  /** What the service answered, if it is not set up right. */
  get reason(): string | undefined {
    return this.trouble === "misconfigured" ? this.#misconfigured : undefined;
  }

  /** Whether several orders of this customer have failed in this process since its last success. */
  suspects({ customerId }: Pick<Order, "customerId">): boolean {
    return this.#ofCustomers.get(customerId) === SEVERAL;
  }

  /** An attempt calls the service for an order. @throws {StageUnavailableError} if the service is not to be called. */
  begin(order: Pick<Order, "customerId">): ServiceCall {
    if (this.#circuit === "open") throw this.#heldError();
    const call = { customerId: order.customerId, startedAt: performance.now() };
    this.#calls.add(call);
    // Those that give up at the same moment are judged before any of them is forgotten.
    const over = () => setImmediate(() => this.#calls.delete(call));
    return {
      succeeded: () => {
        this.#succeeded(order);
        over();
      },
      failed: (error) => {
        // An aborted attempt is not an error. Any other error shows that the service answered.
        if (error instanceof Error && !(error instanceof StageUnavailableError) && !isOutage(error))
          this.#answered();
        over();
      },
    };
  }

  /** Decides whether the service or the order is to blame, and what happens to the order. */
  async judge(call: FailedCall): Promise<Verdict> {
    this.#calls.add(call);
    try {
      return await this.#judge(call);
    } finally {
      this.#calls.delete(call);
    }
  }

  async #judge(call: FailedCall): Promise<Verdict> {
    const { service, pings, probeIntervalMs } = this.#options;
    const { startedAt } = call;
    // Check before the ping: if the service is back by then, so are the answers to others.
    let mayHaveHung = this.#hangsForOthersThan(call);
    if (service !== undefined && call.misconfigured !== undefined) {
      if (this.#servesOthersThan(call)) return { cause: "order" };
      this.#hold(call.misconfigured);
      return { cause: "away", waitMs: probeIntervalMs };
    }
    if (service !== undefined) {
      const answers = await pings.answers(service);
      if (!answers) this.#hold();
      // It may have been away during the call and be back now.
      if (!answers || pings.lastAwayAt(service) >= startedAt)
        return { cause: "away", waitMs: probeIntervalMs };
      mayHaveHung ||= call.timedOut && pings.lastLateAt(service) >= startedAt;
    }
    this.#note(call);
    return this.#failsEverybody() || (mayHaveHung && !call.isSuspect)
      ? { cause: "failing", waitMs: this.#backoffMs(call.delays) }
      : { cause: "order" };
  }

  /** Stops pinging. */
  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#probe);
  }

  #succeeded({ customerId }: Pick<Order, "customerId">): void {
    const { stage, service, log } = this.#options;
    if (this.#failsEverybody())
      log.info({ stage: stage.name, service }, "the service is serving orders again");
    this.#succeededAt = performance.now();
    this.#failing.clear();
    this.#ofCustomers.delete(customerId);
    this.#answered();
  }

  #answered(): void {
    this.#servedAt = performance.now();
    this.#release();
  }

  /** Whether the call hung while another customer's call hung too and the service served nobody. */
  #hangsForOthersThan({ customerId, startedAt }: FailedCall): boolean {
    const since = performance.now() - MAY_HANG_AFTER_MS;
    if (startedAt > since || this.#servedAt >= startedAt) return false;
    const hangs = [...this.#calls].some((call) => call.customerId !== customerId && call.startedAt <= since);
    return hangs || [...this.#failing].some(([customer, at]) => customer !== customerId && at >= startedAt);
  }

  /** Whether the service served somebody since it turned this order away before, or since this call began. */
  #servesOthersThan({ orderId, startedAt }: FailedCall): boolean {
    const before = this.#turnedAway.get(orderId) ?? startedAt;
    remember(this.#turnedAway, orderId, performance.now(), ORDERS_REMEMBERED);
    return this.#succeededAt > before;
  }

  #note({ orderId, customerId, isSuspect }: FailedCall): void {
    if (customerId === undefined) return;
    const before = this.#ofCustomers.get(customerId) ?? orderId;
    remember(this.#ofCustomers, customerId, before === orderId ? orderId : SEVERAL, CUSTOMERS_REMEMBERED);

    const failedBefore = this.#failsEverybody();
    const isKnown = this.#failing.has(customerId);
    // Suspects fail repeatedly while others are served, so only their first failure counts.
    if (isSuspect && !isKnown) return;
    remember(this.#failing, customerId, performance.now(), CUSTOMERS_IN_A_ROW);
    if (!failedBefore && this.#failsEverybody()) {
      const { stage, service, log } = this.#options;
      log.warn(
        { stage: stage.name, service },
        "the service answers pings but fails order after order: orders wait and use up no attempts",
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

  /** Exponential backoff with 50% jitter. */
  #backoffMs(delays: number): number {
    const { probeIntervalMs, random = Math.random } = this.#options;
    const longest = Math.min(LONGEST_WAIT_MS, probeIntervalMs * 2 ** delays);
    return Math.max(probeIntervalMs / 2, longest / 2) + (random() * longest) / 2;
  }

  #heldError(): StageUnavailableError {
    const { stage, service } = this.#options;
    const message = `held: ${this.#misconfigured ?? `${service ?? "a service it needs"} does not answer`}`;
    return new StageUnavailableError(stage, { message });
  }

  /** @param misconfigured what the service answered, if it is not set up right. */
  #hold(misconfigured?: string): void {
    if (this.#circuit === "open" || this.#stopped) return;
    const { stage, service, gate, log } = this.#options;
    this.#misconfigured = misconfigured;
    this.#circuit = "open";
    gate.shut();
    log.warn({ stage: stage.name, service, reason: misconfigured }, "circuit open: the stage is held");
    this.#probeLater();
  }

  #probeLater(): void {
    this.#probe = setTimeout(() => void this.#probeNow(), this.#options.probeIntervalMs);
  }

  async #probeNow(): Promise<void> {
    const { service, pings, gate, stage, log } = this.#options;
    const answers = service === undefined || (await pings.answers(service));
    if (this.#stopped) return;
    if (!answers) {
      log.debug({ stage: stage.name, service }, "still away");
      return this.#probeLater();
    }
    this.#circuit = "half open";
    gate.halfOpen();
    log.info({ stage: stage.name, service }, "circuit half open: trying a share of the orders");
  }

  #release(): void {
    if (this.#circuit !== "half open") return;
    const { stage, service, gate, log } = this.#options;
    this.#circuit = "closed";
    gate.open();
    log.info({ stage: stage.name, service }, "circuit closed: the stage resumes");
  }
}
