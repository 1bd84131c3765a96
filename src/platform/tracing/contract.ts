import type { RequestListener } from "node:http";
import type { Telemetry } from "bullmq";
import type { Commit } from "../group-commit.ts";
import type { Logger } from "../log.ts";

/** Traces jobs from where they are added to where they run. */
export interface JobTracing {
  /** For BullMQ. */
  readonly telemetry: Telemetry;
  /** The trace context that each order's job must carry when many are added at once. Never throws. */
  tracesOf(orderIds: readonly string[]): Promise<ReadonlyMap<string, string>>;
}

/** An order with its trace context. */
export interface Traced {
  readonly traceparent?: string | undefined;
}

/** The executor, as far as tracing is concerned. */
export interface Attempts<Execution extends { readonly outcome: string }> {
  execute(
    orderId: string,
    step: { readonly name: string },
    signal: AbortSignal,
    mark?: { readonly attempt: number },
  ): Promise<Execution>;
}

/** Reads these orders' stored trace contexts, by order id. @throws when MySQL is away */
export type ReadTraceparents = (orderIds: readonly string[]) => Promise<ReadonlyMap<string, string>>;

/**
 * Traces an order as one trace: from the request that placed it through batches, jobs, attempts and outside
 * calls. Each method wraps a part of the service; if tracing is off, it returns it unchanged.
 */
export interface Tracing {
  /** Tracing of jobs; undefined if tracing is off. */
  readonly jobs: JobTracing | undefined;
  /** Trace fields for log lines; undefined if tracing is off. */
  readonly logFields: (() => object) | undefined;
  /** Traces every request except those for health and metrics. */
  listener(listener: RequestListener): RequestListener;
  /** Traces each caller into its batch. */
  commit(commit: Commit): Commit;
  /** Traces each attempt. */
  attempts<Execution extends { readonly outcome: string }>(
    attempts: Attempts<Execution>,
  ): Attempts<Execution>;
  /** Wraps the creation of orders to store each one's trace context. */
  accept<Order extends Traced, Created>(
    accept: (order: Order) => Promise<Created>,
  ): (order: Order) => Promise<Created>;
  /** Sets how to read stored trace contexts, for orders not traced so far. */
  readTraceparents(read: ReadTraceparents): void;
  /** Continues an order in its own trace, linked to the current one. */
  resume<Result>(orderId: string, work: () => Promise<Result>): Promise<Result>;
  /** The current trace context, for another process to continue; undefined if the trace is not recorded. */
  carried(): string | undefined;
  /** Runs work in a trace context that another process {@link carried} over. */
  continueFrom<Result>(carried: string | undefined, work: () => Promise<Result>): Promise<Result>;
  /** Logs when traces can't be exported. */
  logTo(log: Logger): void;
  /** Exports what is left, within seconds. */
  stop(): Promise<void>;
}

/** Settings that the SDK does not read from the environment itself. */
export interface TracingSettings {
  /** Export protocol, over HTTP. */
  readonly protocol: "http/protobuf" | "http/json";
  /** Whether clients' `baggage` is passed on to jobs and outside services. */
  readonly baggage: boolean;
}
