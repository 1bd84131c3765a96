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

/** A process's MySQL connections. */
export interface PoolUse {
  readonly inUse: number;
  readonly idle: number;
  /** Callers that wait for a connection. */
  readonly waiting: number;
}

/** A metric without its values. */
export interface MetricDefinition {
  readonly name: string;
  readonly kind: "counter" | "gauge" | "histogram";
  readonly help: string;
  readonly labels: readonly string[];
}

const BATCH_SIZES = [1, 2, 5, 10, 20, 50, 100, 200, 500];
/** Buckets in seconds for work that normally takes milliseconds but may run into a timeout. */
export const BUCKETS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];

/**
 * The Prometheus metrics of a process. These are common to all processes; others are added where they belong:
 * HTTP and queues in `src/api`, stages in `src/engine/metrics.ts`.
 *
 * Labels known in advance are bound in advance, to avoid lookups per order. State, as opposed to events, is
 * read at scrape time.
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
      help: "Always 1; the label holds the version.",
      labelNames: ["version"],
    })
      .labels(packageJson.version)
      .set(1);
    this.#batchSizes = this.histogram({
      name: "conveyor_group_commit_batch_size",
      help: "Callers that shared a flush of a group commit.",
      labelNames: ["work"],
      buckets: BATCH_SIZES,
    });
    this.#flushes = this.histogram({
      name: "conveyor_group_commit_flush_seconds",
      help: "Duration of a group commit's flush, including failed ones.",
      labelNames: ["work"],
      buckets: BUCKETS,
    });
  }

  /** Media type of {@link text}. */
  get contentType(): string {
    return this.#registry.contentType;
  }

  /** All metrics in Prometheus' text format. */
  text(): Promise<string> {
    return this.#registry.metrics();
  }

  /** All metrics except prom-client's defaults, in order of creation. */
  get all(): readonly MetricDefinition[] {
    return this.#definitions;
  }

  /** Registers a counter. */
  counter<Label extends string>(options: Omit<CounterConfiguration<Label>, "registers">): Counter<Label> {
    this.#note("counter", options);
    return new Counter({ ...options, registers: [this.#registry] });
  }

  /** Registers a gauge; with `collect`, its value is set at scrape time. */
  gauge<Label extends string>(options: Omit<GaugeConfiguration<Label>, "registers">): Gauge<Label> {
    this.#note("gauge", options);
    return new Gauge({ ...options, registers: [this.#registry] });
  }

  /** Registers a histogram. */
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

  /** Wraps a commit to measure its batches, labelled by name. */
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

  /** @param read returns undefined if unknown. */
  watchPool(limit: number, read: () => PoolUse | undefined): void {
    this.gauge({
      name: "conveyor_database_connections",
      help: "Open MySQL connections of this process.",
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
      help: "Callers in this process waiting for a MySQL connection.",
      collect() {
        const use = read();
        if (use === undefined) this.remove();
        else this.set(use.waiting);
      },
    });
    this.gauge({
      name: "conveyor_database_connections_limit",
      help: "Maximum MySQL connections of this process (DATABASE_POOL_SIZE).",
    }).set(limit);
  }
}
