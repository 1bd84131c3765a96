import { BrokenCircuitError, circuitBreaker, CircuitState, ConsecutiveBreaker, handleWhen } from "cockatiel";
import type { Order } from "../order/order.ts";
import type { Ports } from "../order/ports.ts";
import type { Stage } from "../order/stage.ts";
import type { Logger } from "../platform/log.ts";
import { describe } from "../platform/shutdown.ts";
import { untilAborted } from "../platform/until-aborted.ts";
import { isOutage, serviceOf, StageUnavailableError } from "./outage.ts";

/**
 * So many customers in a row, with nobody's success in between, and the service is taken for away. Customers and not
 * orders: one customer's poisoned orders never hold up the others, however many they are.
 */
const CUSTOMERS_IN_A_ROW = 5;
/** A service that takes longer to say that it is there is taken for away. */
const PING_TIMEOUT_MS = 3_000;

/** What a breaker holds: the taking of jobs of its stage. */
export interface Gate {
  /** Takes no more jobs. */
  shut(): void;
  /** Takes one at a time. */
  ajar(): void;
  /** Takes as many as ever. */
  open(): void;
}

export interface BreakerOptions {
  readonly stage: Pick<Stage, "name">;
  readonly gate: Gate;
  /** Asks a service whether it is there. */
  readonly ping: (service: keyof Ports, signal: AbortSignal) => Promise<void>;
  /** Milliseconds between two questions whether the service is back. */
  readonly probeIntervalMs: number;
  readonly log: Logger;
}

/** An outage that the circuit does not count. */
class RepeatedOutage extends Error {
  readonly outage: Error;
  constructor(outage: Error) {
    super(outage.message);
    this.outage = outage;
  }
}

/**
 * The circuit breaker of one stage in one worker process (Nygard, "Release It!", 2007): an outage of the service behind
 * the stage is nobody's failed attempt.
 *
 * - It opens when orders of several customers in a row find a service away; and also, so that a shop with one order an
 *   hour is served as well, when an order has no attempt left and the service does not answer a ping. Then the stage is
 *   held, here only, and the other stages go on.
 * - While it is open the service is pinged. When it answers, one order at a time is let through; the first that
 *   succeeds closes the breaker.
 * - An attempt is used up only if the service answers a ping although it failed this order: so an order that nobody can
 *   serve still comes to rest in the failed set, and one that met an outage of hours does not.
 */
export class StageBreaker {
  readonly #options: BreakerOptions;
  readonly #circuit;
  /** Whose failure has been counted since the last success. */
  readonly #failing = new Set<string>();
  /** What the last failure said to be away. */
  #service: keyof Ports | undefined;
  #held = false;
  #probe: NodeJS.Timeout | undefined;
  #pinging: Promise<boolean> | undefined;
  #stopped = false;

  constructor(options: BreakerOptions) {
    this.#options = options;
    this.#circuit = circuitBreaker(handleWhen(isOutage), {
      breaker: new ConsecutiveBreaker(CUSTOMERS_IN_A_ROW),
      // Sooner than the next ping, which is what decides.
      halfOpenAfter: options.probeIntervalMs / 2,
    });
    this.#circuit.onBreak(() => this.#hold());
    this.#circuit.onReset(() => this.#release());
  }

  /** Whether the stage is held. */
  get isOpen(): boolean {
    return this.#held || this.#circuit.state !== CircuitState.Closed;
  }

  /** What was last found away. */
  get service(): keyof Ports | undefined {
    return this.#service;
  }

  /**
   * Does the stage's work for an order, unless the stage is held. @throws {StageUnavailableError} and what `work` throws.
   */
  async run<T>(order: Pick<Order, "customerId">, work: () => Promise<T>): Promise<T> {
    if (this.#held) throw this.#heldError();
    try {
      const result = await this.#circuit.execute(() => this.#watched(order, work));
      this.#failing.clear();
      return result;
    } catch (error) {
      if (error instanceof BrokenCircuitError) throw this.#heldError();
      const outage = error instanceof RepeatedOutage ? error.outage : error;
      throw isOutage(outage) ? new StageUnavailableError(this.#options.stage, { cause: outage }) : outage;
    }
  }

  /**
   * Whether an order that found its service away is to wait for it, with no attempt used up.
   *
   * @param isLastAttempt whether the order would rest in the failed set.
   */
  async shouldWait(isLastAttempt: boolean): Promise<boolean> {
    if (!this.isOpen && !isLastAttempt) return false;
    if (await this.#answers()) return false;
    this.#hold();
    return true;
  }

  /** Asks no more. */
  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#probe);
  }

  /** Notes which service is away, and keeps from the circuit what one customer says again. */
  async #watched<T>({ customerId }: Pick<Order, "customerId">, work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      if (!isOutage(error)) throw error;
      this.#service = serviceOf(error);
      const isRepeated = this.#circuit.state === CircuitState.Closed && this.#failing.has(customerId);
      this.#failing.add(customerId);
      throw isRepeated ? new RepeatedOutage(error) : error;
    }
  }

  #heldError(): StageUnavailableError {
    const message = `held: ${this.#service ?? "what it needs"} does not answer`;
    return new StageUnavailableError(this.#options.stage, { message });
  }

  #hold(): void {
    if (this.#held || this.#stopped) return;
    const { stage, gate, log } = this.#options;
    this.#held = true;
    gate.shut();
    log.warn({ stage: stage.name, service: this.#service }, "circuit open: the stage is held");
    this.#probeLater();
  }

  #probeLater(): void {
    this.#probe = setTimeout(() => {
      void this.#probeNow();
    }, this.#options.probeIntervalMs);
  }

  async #probeNow(): Promise<void> {
    const answers = await this.#answers();
    if (this.#stopped) return;
    if (answers) this.#letThrough();
    else this.#probeLater();
  }

  #letThrough(): void {
    this.#held = false;
    if (this.#circuit.state === CircuitState.Closed) return this.#release();
    this.#options.log.info(
      { stage: this.#options.stage.name },
      "circuit half open: trying one order at a time",
    );
    this.#options.gate.ajar();
  }

  #release(): void {
    const { stage, gate, log } = this.#options;
    this.#failing.clear();
    gate.open();
    log.info({ stage: stage.name, service: this.#service }, "circuit closed: the stage goes on");
  }

  /** Whether the service answers a ping, as far as is known which it is. All who ask at once share the question. */
  #answers(): Promise<boolean> {
    this.#pinging ??= this.#ping().finally(() => (this.#pinging = undefined));
    return this.#pinging;
  }

  async #ping(): Promise<boolean> {
    if (this.#service === undefined) return true;
    try {
      const service = this.#service;
      const signal = AbortSignal.timeout(PING_TIMEOUT_MS);
      await untilAborted(signal, () => this.#options.ping(service, signal));
      return true;
    } catch (error) {
      const { log, stage } = this.#options;
      log.debug({ stage: stage.name, service: this.#service, error: describe(error) }, "still away");
      return false;
    }
  }
}
