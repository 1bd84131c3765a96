import type { Logger } from "../platform/log.ts";
import { pingService, type Ports, type ServiceName } from "../order/ports.ts";
import type { Order } from "../order/order.ts";
import type { Stage } from "../order/stage.ts";
import {
  ServiceBreaker,
  type FailedCall,
  type Gate,
  type ServiceCall,
  type Trouble,
  type Verdict,
} from "./breaker.ts";
import { tellingCalls } from "./calls.ts";
import type { StageWork } from "./stage-runner.ts";
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
/** The worst is a stage's. */
const BY_WEIGHT = ["misconfigured", "away", "failing", "half open"] as const satisfies readonly Trouble[];

/**
 * A worker process's circuit breakers: one for each service that a stage calls. A stage takes no jobs while one of its services
 * is away, but orders that come to it in place and do not call that service go on.
 */
export class StageBreakers {
  readonly #stages: ReadonlyMap<string, BreakersOfStage>;
  readonly #suspectsOf: StageBreakersOptions["suspectsOf"];

  constructor({ stages, ports, gateOf, suspectsOf, probeIntervalMs, log }: StageBreakersOptions) {
    // Stages share services, so they share pings.
    const pings = new Pings((service, signal) => pingService(ports, service, signal));
    this.#suspectsOf = suspectsOf;
    this.#stages = new Map(
      stages.map((stage) => [
        stage.name,
        // The gate is looked up on use: the stage's worker is created after its breakers.
        new BreakersOfStage(
          () => gateOf(stage) ?? NOTHING_TO_HOLD,
          (service, gate) => new ServiceBreaker({ stage, service, gate, pings, probeIntervalMs, log }),
        ),
      ]),
    );
  }

  /**
   * Runs a stage's work for an order, unless the order's customer is a suspect and the suspects' places are in use. The worker
   * frees the place later. The work fails when it calls a service that is held.
   *
   * @throws {StageUnavailableError} {@link NoPlaceError} and whatever `work` throws.
   */
  async run<T>({ stage, step, order }: StageWork, signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    const breakers = this.#of(stage.name);
    if (breakers.suspects(order) && this.#suspectsOf(step)?.take(order.id) === false)
      throw new NoPlaceError();
    const calls = new Map<ServiceBreaker, ServiceCall>();
    const begin = (breaker: ServiceBreaker) => {
      if (!calls.has(breaker)) calls.set(breaker, breaker.begin(order));
    };
    try {
      for (const breaker of breakers.untold) begin(breaker);
      const result = await tellingCalls(signal, (service) => begin(breakers.told(service)), work);
      for (const call of calls.values()) call.succeeded();
      return result;
    } catch (error) {
      for (const call of calls.values()) call.failed(error);
      throw error;
    }
  }

  /** See {@link ServiceBreaker.judge}. @param stage the stage whose service failed the order. */
  judge(stage: string, call: FailedCall): Promise<Verdict> {
    return this.#of(stage).of(call.service).judge(call);
  }

  /** Stages whose service is in trouble; `service` is null if unknown. */
  get troubles(): readonly {
    readonly stage: string;
    readonly service: string | null;
    readonly trouble: Trouble;
    readonly reason?: string | undefined;
  }[] {
    return [...this.#stages].flatMap(([stage, { all }]) =>
      [...all].flatMap(([service, { trouble, reason }]) =>
        trouble ? [{ stage, service: service ?? null, trouble, reason }] : [],
      ),
    );
  }

  /** The worst state of a stage's services; undefined if all are healthy. */
  troubleOf(stage: string): Trouble | undefined {
    const troubles = new Set([...this.#of(stage).all.values()].map(({ trouble }) => trouble));
    return BY_WEIGHT.find((trouble) => troubles.has(trouble));
  }

  /** Stops pinging. */
  stop(): void {
    for (const { all } of this.#stages.values()) for (const breaker of all.values()) breaker.stop();
  }

  #of(stage: string): BreakersOfStage {
    const breakers = this.#stages.get(stage);
    if (breakers === undefined) throw new Error(`the pipeline has no stage ${stage}`);
    return breakers;
  }
}

/** The breakers of one stage, made as its services fail or are called. */
class BreakersOfStage {
  /** By service; undefined stands for an unknown one. */
  readonly all = new Map<ServiceName | undefined, ServiceBreaker>();
  /** Services whose calls are told. A stage that calls another one by itself tells only that it failed. */
  readonly #told = new Set<ServiceName>();
  readonly #gates = new Map<ServiceName | undefined, keyof Gate>();
  readonly #gateOf: () => Gate;
  readonly #make: (service: ServiceName | undefined, gate: Gate) => ServiceBreaker;

  constructor(gateOf: () => Gate, make: (service: ServiceName | undefined, gate: Gate) => ServiceBreaker) {
    this.#gateOf = gateOf;
    this.#make = make;
  }

  of(service: ServiceName | undefined): ServiceBreaker {
    let breaker = this.all.get(service);
    if (breaker === undefined) {
      const set = (position: keyof Gate) => () => this.#set(service, position);
      breaker = this.#make(service, { shut: set("shut"), halfOpen: set("halfOpen"), open: set("open") });
      this.all.set(service, breaker);
    }
    return breaker;
  }

  /** The breaker of a service that is about to be called. */
  told(service: ServiceName): ServiceBreaker {
    this.#told.add(service);
    return this.of(service);
  }

  /** The breakers of services that any attempt may call without a word. */
  get untold(): ServiceBreaker[] {
    return [...this.all].flatMap(([service, breaker]) =>
      service !== undefined && this.#told.has(service) ? [] : [breaker],
    );
  }

  suspects(order: Pick<Order, "customerId">): boolean {
    return [...this.all.values()].some((breaker) => breaker.suspects(order));
  }

  /** The stage takes as many jobs as the worst of its services allows. */
  #set(service: ServiceName | undefined, position: keyof Gate): void {
    this.#gates.set(service, position);
    const positions = new Set(this.#gates.values());
    const worst = (["shut", "halfOpen"] as const).find((each) => positions.has(each));
    this.#gateOf()[worst ?? "open"]();
  }
}
