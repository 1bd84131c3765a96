import { BUCKETS, type Metrics } from "../platform/metrics.ts";
import { CANCEL, type Lifecycle } from "../order/lifecycle.ts";
import type { Step } from "../order/stage.ts";
import type { Trouble } from "./breaker.ts";
import type { Execution } from "./executor.ts";
import type { Failure } from "./failure.ts";
import type { SweepObserver, Walked } from "./sweeper.ts";
import { nowMs } from "../platform/clock.ts";

/** How an attempt ended: one of the executor's outcomes, or one of these. */
export type AttemptOutcome =
  | Execution["outcome"]
  /** It failed and will be retried. */
  | "retried"
  /** It failed for good: the order waits for a person, or is cancelled. */
  | "failed"
  /** A server or service was away: retried without using up an attempt. */
  | "put off"
  /** The process is shutting down, or lost the job: another worker takes it. */
  | "handed back";

/** Observes the attempts of one step. */
export interface AttemptObserver {
  /** An order's first attempt began. */
  began(waitedSeconds: number): void;
  ended(outcome: AttemptOutcome, seconds: number): void;
  /** The order reached a status. Only final ones are counted. */
  reached(orderId: string, status: string): void;
  /** It will be retried, for this cause. */
  retried(cause: Failure["kind"]): void;
}

const OUTCOMES: readonly AttemptOutcome[] = [
  "done",
  "snoozed",
  "waiting",
  "cancelled",
  "not due",
  "retried",
  "failed",
  "put off",
  "handed back",
];
const CAUSES: readonly Failure["kind"][] = [
  "failed",
  "database away",
  "database busy",
  "redis away",
  "service away",
  "no place",
  "not now",
];
/** From orders whose stages take milliseconds to parcels in transit for weeks. Seconds. */
const LIFETIMES = [0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3_600, 14_400, 86_400, 604_800, 2_592_000];
const WAITS = [0.005, 0.025, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3_600];

/** Prometheus metrics of a process that works on orders. */
export class StageMetrics implements SweepObserver {
  readonly #lifecycle: Lifecycle;
  readonly #metrics: Metrics;
  readonly #durations;
  readonly #waits;
  readonly #retries;
  readonly #lifetimes: ReadonlyMap<string, { observe(seconds: number): void }>;
  /** The last walk of each status, while this process leads. */
  readonly #walks = new Map<string, Walked>();

  constructor(metrics: Metrics, lifecycle: Lifecycle) {
    this.#metrics = metrics;
    this.#lifecycle = lifecycle;
    this.#durations = metrics.histogram({
      name: "conveyor_stage_duration_seconds",
      help: "Duration of one attempt at a stage, by outcome.",
      labelNames: ["stage", "outcome"],
      buckets: BUCKETS,
    });
    this.#waits = metrics.histogram({
      name: "conveyor_stage_wait_seconds",
      help: "Time from enqueuing a job to its first attempt.",
      labelNames: ["stage"],
      buckets: WAITS,
    });
    this.#retries = metrics.counter({
      name: "conveyor_stage_retries_total",
      help: "Attempts that ended as retried or put_off, by cause.",
      labelNames: ["stage", "cause"],
    });
    const lifetimes = metrics.histogram({
      name: "conveyor_order_duration_seconds",
      help: "Time from an order's creation to its final status.",
      labelNames: ["status"],
      buckets: LIFETIMES,
    });
    this.#lifetimes = new Map(
      lifecycle.statuses
        .filter((status) => lifecycle.hasEnded(status))
        .map((status) => {
          lifetimes.zero({ status });
          return [status, lifetimes.labels(status)];
        }),
    );
    this.#watchOrders();
  }

  /** An observer for one step. */
  of({ name: stage }: Pick<Step, "name">): AttemptObserver {
    const durations = new Map(
      OUTCOMES.map((outcome) => [outcome, this.#durations.labels(stage, inLabel(outcome))]),
    );
    // Start at zero: alerts use the increase, and a first sample of 1 would not count as one.
    this.#durations.zero({ stage, outcome: "done" });
    this.#durations.zero({ stage, outcome: "failed" });
    const retries = new Map(CAUSES.map((cause) => [cause, this.#retries.labels(stage, inLabel(cause))]));
    for (const each of retries.values()) each.inc(0);
    const waits = this.#waits.labels(stage);
    return {
      began: (waitedSeconds) => waits.observe(waitedSeconds),
      ended: (outcome, seconds) => durations.get(outcome)?.observe(seconds),
      reached: (orderId, status) => this.#lifetimes.get(status)?.observe(ageOf(orderId)),
      retried: (cause) => retries.get(cause)?.inc(),
    };
  }

  /** @param read returns limits and current counts for each stage this process works on. */
  watchWorkers(
    read: () => readonly {
      readonly stage: string;
      readonly concurrency: number;
      readonly held: number;
      readonly suspects: number;
    }[],
  ): void {
    this.#metrics.gauge({
      name: "conveyor_worker_concurrency",
      help: "Orders that this worker may process in a stage at once; 0 while the stage is held, absent for stages it does not work on.",
      labelNames: ["stage"],
      collect() {
        for (const { stage, concurrency } of read()) this.set({ stage }, concurrency);
      },
    });
    this.#metrics.gauge({
      name: "conveyor_worker_jobs",
      help: "Orders that this worker is processing in a stage.",
      labelNames: ["stage"],
      collect() {
        for (const { stage, held } of read()) this.set({ stage }, held);
      },
    });
    this.#metrics.gauge({
      name: "conveyor_worker_suspects",
      help: "Orders that this worker is processing in a stage and that have failed before; at most a quarter of its places.",
      labelNames: ["stage"],
      collect() {
        for (const { stage, suspects } of read()) this.set({ stage }, suspects);
      },
    });
  }

  /** @param troubleOf the state of a stage's service, as this process sees it. */
  watchBreakers(troubleOf: (stage: string) => Trouble | undefined): void {
    const { stages } = this.#lifecycle;
    this.#metrics.gauge({
      name: "conveyor_stage_breaker_open",
      help: "1 while this worker holds the stage because its service is away or not set up right, or lets only a share of the orders through because the service has just come back.",
      labelNames: ["stage"],
      collect() {
        for (const { name } of stages) {
          const trouble = troubleOf(name);
          this.set({ stage: name }, trouble === undefined || trouble === "failing" ? 0 : 1);
        }
      },
    });
    this.#metrics.gauge({
      name: "conveyor_stage_failing",
      help: "1 while the service behind the stage answers pings but fails order after order of this worker.",
      labelNames: ["stage"],
      collect() {
        for (const { name } of stages) this.set({ stage: name }, troubleOf(name) === "failing" ? 1 : 0);
      },
    });
  }

  walked(status: string, walked: Walked): void {
    this.#walks.set(status, walked);
  }

  doesNotLead(): void {
    this.#walks.clear();
  }

  #watchOrders(): void {
    const walks = this.#walks;
    const lifecycle = this.#lifecycle;
    this.#metrics.gauge({
      name: "conveyor_orders",
      help: "Open orders by status, as the sweeper last saw them. Reported by the worker that sweeps.",
      labelNames: ["status", "state"],
      collect() {
        this.reset();
        for (const [status, { moving, waiting, operator, failed, cancelling }] of walks) {
          this.set({ status, state: "moving" }, moving.count);
          this.set({ status, state: "waiting" }, waiting.count);
          this.set({ status, state: "operator" }, operator.count);
          this.set({ status, state: "failed" }, failed.count);
          this.set({ status, state: "cancelling" }, cancelling.count);
        }
      },
    });
    this.#metrics.gauge({
      name: "conveyor_oldest_order_age_seconds",
      help: "How long the oldest order has been in its stage; 0 without orders. Orders that have failed or wait for somebody else are left out.",
      labelNames: ["stage"],
      collect() {
        this.reset();
        const cancelling = [...walks.values()].map((walked) => walked.cancelling.oldest);
        if (walks.size > 0) this.set({ stage: CANCEL.name }, secondsSince(Math.min(...cancelling)));
        for (const [status, { moving }] of walks) {
          const stage = lifecycle.due(status)?.step.name;
          if (stage !== undefined) this.set({ stage }, secondsSince(moving.oldest));
        }
      },
    });
    this.#metrics.gauge({
      name: "conveyor_sweep_timestamp_seconds",
      help: "When the sweeper last finished a walk over a status.",
      labelNames: ["status"],
      collect() {
        this.reset();
        for (const [status, { at }] of walks) this.set({ status }, at / 1_000);
      },
    });
  }
}

/** @param time milliseconds since 1970; Infinity for none. */
function secondsSince(time: number): number {
  return time === Infinity ? 0 : Math.max(0, nowMs() - time) / 1_000;
}

/** An order's age in seconds: its id is a UUIDv7, which starts with the creation time. */
function ageOf(orderId: string): number {
  return secondsSince(Number.parseInt(orderId.slice(0, 8) + orderId.slice(9, 13), 16));
}

function inLabel(words: string): string {
  return words.replaceAll(" ", "_");
}
