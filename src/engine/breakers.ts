import type { Logger } from "../platform/log.ts";
import { pingService, type Ports } from "../order/ports.ts";
import type { Stage } from "../order/stage.ts";
import { StageBreaker, type FailedCall, type Gate, type Trouble, type Verdict } from "./breaker.ts";
import type { StageWork } from "./executor.ts";
import { NoPlaceError } from "./outage.ts";
import { Pings } from "./pings.ts";
import type { SuspectPlaces } from "./suspects.ts";

export interface StageBreakersOptions {
  readonly stages: readonly Stage[];
  readonly ports: Ports;
  /** The gate of a stage; undefined if this process does not work on it. */
  readonly gateOf: (stage: Stage) => Gate | undefined;
  /** The suspects' places in a step; undefined if this process does not work on it. */
  readonly suspectsOf: (step: Pick<Stage, "name">) => SuspectPlaces | undefined;
  readonly probeIntervalMs: number;
  readonly log: Logger;
}

const NOTHING_TO_HOLD: Gate = { shut: () => undefined, halfOpen: () => undefined, open: () => undefined };

/** A worker process's circuit breakers, one per stage. */
export class StageBreakers {
  readonly #breakers: ReadonlyMap<string, StageBreaker>;
  readonly #suspectsOf: StageBreakersOptions["suspectsOf"];

  constructor({ stages, ports, gateOf, suspectsOf, probeIntervalMs, log }: StageBreakersOptions) {
    // Stages share services, so they share pings.
    const pings = new Pings((service, signal) => pingService(ports, service, signal));
    this.#suspectsOf = suspectsOf;
    this.#breakers = new Map(
      stages.map((stage) => [
        stage.name,
        new StageBreaker({
          stage,
          // Looked up on use: the stage's worker is created after its breaker.
          gate: {
            shut: () => (gateOf(stage) ?? NOTHING_TO_HOLD).shut(),
            halfOpen: () => (gateOf(stage) ?? NOTHING_TO_HOLD).halfOpen(),
            open: () => (gateOf(stage) ?? NOTHING_TO_HOLD).open(),
          },
          pings,
          probeIntervalMs,
          log,
        }),
      ]),
    );
  }

  /**
   * Runs a stage's work for an order, unless the stage is held, or the order's customer is a suspect and the suspects'
   * places are in use. The worker frees the place later.
   *
   * @throws {StageUnavailableError} {@link NoPlaceError} and whatever `work` throws.
   */
  async run<T>({ stage, step, order }: StageWork, work: () => Promise<T>): Promise<T> {
    const breaker = this.#of(stage.name);
    if (breaker.suspects(order) && this.#suspectsOf(step)?.take(order.id) === false) throw new NoPlaceError();
    return breaker.run(order, work);
  }

  /** See {@link StageBreaker.judge}. @param stage the stage whose service failed the order. */
  judge(stage: string, call: FailedCall): Promise<Verdict> {
    return this.#of(stage).judge(call);
  }

  /** Stages whose service is in trouble; `service` is null if unknown. */
  get troubles(): readonly {
    readonly stage: string;
    readonly service: string | null;
    readonly trouble: Trouble;
    readonly reason?: string | undefined;
  }[] {
    return [...this.#breakers].flatMap(([stage, { trouble, service, reason }]) =>
      trouble ? [{ stage, service: service ?? null, trouble, reason }] : [],
    );
  }

  /** The state of a stage's service; undefined if healthy. */
  troubleOf(stage: string): Trouble | undefined {
    return this.#of(stage).trouble;
  }

  /** Stops pinging. */
  stop(): void {
    for (const breaker of this.#breakers.values()) breaker.stop();
  }

  #of(stage: string): StageBreaker {
    const breaker = this.#breakers.get(stage);
    if (breaker === undefined) throw new Error(`the pipeline has no stage ${stage}`);
    return breaker;
  }
}
