import {
  collectDefaultMetrics,
  Counter,
  Gauge,
  Histogram,
  Registry,
  type CounterConfiguration,
  type GaugeConfiguration,
  type HistogramConfiguration,
} from "prom-client";
import packageJson from "../../package.json" with { type: "json" };
import type { Commit } from "./group-commit.ts";

/** Connections to MySQL, of one process. */
export interface PoolUse {
  readonly inUse: number;
  readonly idle: number;
  /** Callers that wait for a connection. */
  readonly waiting: number;
}

/** What a metric is, apart from its values. */
export interface MetricDefinition {
  readonly name: string;
  readonly kind: "counter" | "gauge" | "histogram";
  readonly help: string;
  readonly labels: readonly string[];
}

const BATCH_SIZES = [1, 2, 5, 10, 20, 50, 100, 200, 500];
/** Of what takes milliseconds when all is well, and may take until a time-out. Seconds. */
export const BUCKETS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];

/**
 * What one process tells Prometheus. Here is what every process has; what only some have is added by whoever knows it:
 * HTTP (`http/metrics.ts`), queues (`metrics-queues.ts`), stages (`src/engine/metrics.ts`).
 *
 * Whatever labels can be known in advance are bound in advance, so that on an order's way nothing is looked up. What is
 * a state, and no event, is read when it is asked for.
 */
export class Metrics {
  readonly #registry = new Registry();
  readonly #definitions: MetricDefinition[] = [];
  readonly #batchSizes;
  readonly #flushes;

  constructor() {
    collectDefaultMetrics({ register: this.#registry });
    this.gauge({
      name: "conveyor_build_info",
      help: "Always 1: the version is in the label.",
      labelNames: ["version"],
    })
      .labels(packageJson.version)
      .set(1);
    this.#batchSizes = this.histogram({
      name: "conveyor_group_commit_batch_size",
      help: "Callers that shared one flush of a group commit.",
      labelNames: ["work"],
      buckets: BATCH_SIZES,
    });
    this.#flushes = this.histogram({
      name: "conveyor_group_commit_flush_seconds",
      help: "Time of one flush of a group commit, failed ones included.",
      labelNames: ["work"],
      buckets: BUCKETS,
    });
  }

  /** The media type of {@link text}. */
  get contentType(): string {
    return this.#registry.contentType;
  }

  /** Everything, as Prometheus reads it. */
  text(): Promise<string> {
    return this.#registry.metrics();
  }

  /** All but what prom-client tells of any process, in the order in which they were made. */
  get all(): readonly MetricDefinition[] {
    return this.#definitions;
  }

  /** A new counter of this process. Its name is its own. */
  counter<Label extends string>(options: Omit<CounterConfiguration<Label>, "registers">): Counter<Label> {
    this.#note("counter", options);
    return new Counter({ ...options, registers: [this.#registry] });
  }

  /** A new gauge of this process; with `collect`, one that is set when it is asked for. */
  gauge<Label extends string>(options: Omit<GaugeConfiguration<Label>, "registers">): Gauge<Label> {
    this.#note("gauge", options);
    return new Gauge({ ...options, registers: [this.#registry] });
  }

  /** A new histogram of this process. */
  histogram<Label extends string>(
    options: Omit<HistogramConfiguration<Label>, "registers">,
  ): Histogram<Label> {
    this.#note("histogram", options);
    return new Histogram({ ...options, registers: [this.#registry] });
  }

  #note(
    kind: MetricDefinition["kind"],
    { name, help, labelNames = [] }: Pick<GaugeConfiguration<string>, "name" | "help" | "labelNames">,
  ): void {
    this.#definitions.push({ name, kind, help, labels: labelNames });
  }

  /** The same commit, whose batches are measured, by the name of what they do. */
  measured(commit: Commit): Commit {
    return (options) => {
      const work = options.name ?? "other";
      const sizes = this.#batchSizes.labels(work);
      const flushes = this.#flushes.labels(work);
      return commit({
        ...options,
        observe: ({ size, seconds }) => {
          sizes.observe(size);
          flushes.observe(seconds);
        },
      });
    };
  }

  /** @param read gives undefined where it can't be told. */
  watchPool(limit: number, read: () => PoolUse | undefined): void {
    this.gauge({
      name: "conveyor_database_connections",
      help: "Connections to MySQL that this process has open.",
      labelNames: ["state"],
      collect() {
        this.reset();
        const use = read();
        if (use === undefined) return;
        this.set({ state: "in_use" }, use.inUse);
        this.set({ state: "idle" }, use.idle);
      },
    });
    this.gauge({
      name: "conveyor_database_connections_waiting",
      help: "Callers in this process that wait for a connection to MySQL.",
      collect() {
        const use = read();
        if (use === undefined) this.remove();
        else this.set(use.waiting);
      },
    });
    this.gauge({
      name: "conveyor_database_connections_limit",
      help: "Connections to MySQL that this process may have open (DATABASE_POOL_SIZE).",
    }).set(limit);
  }
}
