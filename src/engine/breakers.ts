import type { Logger } from "../platform/log.ts";
import type { Order } from "../order/order.ts";
import type { Ports } from "../order/ports.ts";
import type { Stage } from "../order/stage.ts";
import { StageBreaker, type Gate } from "./breaker.ts";

export interface StageBreakersOptions {
  readonly stages: readonly Stage[];
  readonly ports: Ports;
  /** What the breaker of a stage holds; undefined where this process does not work on the stage. */
  readonly gateOf: (stage: Stage) => Gate | undefined;
  readonly probeIntervalMs: number;
  readonly log: Logger;
}

const NOTHING_TO_HOLD: Gate = { shut: () => undefined, ajar: () => undefined, open: () => undefined };

/** The circuit breakers of a worker process, one a stage. */
export class StageBreakers {
  readonly #breakers: ReadonlyMap<string, StageBreaker>;

  constructor({ stages, ports, gateOf, probeIntervalMs, log }: StageBreakersOptions) {
    this.#breakers = new Map(
      stages.map((stage) => [
        stage.name,
        new StageBreaker({
          stage,
          // Asked when it is needed: what works on the stage is made after its breaker.
          gate: {
            shut: () => (gateOf(stage) ?? NOTHING_TO_HOLD).shut(),
            ajar: () => (gateOf(stage) ?? NOTHING_TO_HOLD).ajar(),
            open: () => (gateOf(stage) ?? NOTHING_TO_HOLD).open(),
          },
          ping: (service, signal) => ports[service].ping(signal),
          probeIntervalMs,
          log,
        }),
      ]),
    );
  }

  /** See {@link StageBreaker.run}. */
  run<T>(stage: Pick<Stage, "name">, order: Pick<Order, "customerId">, work: () => Promise<T>): Promise<T> {
    return this.#of(stage.name).run(order, work);
  }

  /** See {@link StageBreaker.shouldWait}. @param stage the stage whose service is away. */
  shouldWait(stage: string, isLastAttempt: boolean): Promise<boolean> {
    return this.#of(stage).shouldWait(isLastAttempt);
  }

  /** The stages that are held, each with the service that does not answer, as far as that is known. */
  get open(): { readonly stage: string; readonly service: string | null }[] {
    return [...this.#breakers].flatMap(([stage, breaker]) =>
      breaker.isOpen ? [{ stage, service: breaker.service ?? null }] : [],
    );
  }

  /** Whether a stage is held. */
  isOpen(stage: string): boolean {
    return this.#of(stage).isOpen;
  }

  /** Asks no more. */
  stop(): void {
    for (const breaker of this.#breakers.values()) breaker.stop();
  }

  #of(stage: string): StageBreaker {
    const breaker = this.#breakers.get(stage);
    if (breaker === undefined) throw new Error(`the pipeline has no stage ${stage}`);
    return breaker;
  }
}
