import type { RequestListener } from "node:http";
import type { Telemetry } from "bullmq";
import type { Commit } from "../group-commit.ts";
import type { Logger } from "../log.ts";

/** Follows jobs from who adds them to who does them. */
export interface JobTracing {
  /** BullMQ's own. */
  readonly telemetry: Telemetry;
  /** What the job of each order is to carry of the trace of its own order, when many are added in one go. Never throws. */
  tracesOf(orderIds: readonly string[]): Promise<ReadonlyMap<string, string>>;
}

/** An order that tells where its trace began. */
export interface Traced {
  readonly traceparent?: string | undefined;
}

/** What makes attempts at the steps of orders, as far as tracing sees it. */
export interface Attempts<Execution extends { readonly outcome: string }> {
  execute(
    orderId: string,
    step: { readonly name: string },
    signal: AbortSignal,
    mark?: { readonly attempt: number },
  ): Promise<Execution>;
}

/** Reads where the traces of these orders began, by order, as was written down with them. @throws when MySQL is away */
export type ReadTraceparents = (orderIds: readonly string[]) => Promise<ReadonlyMap<string, string>>;

/**
 * Follows an order through everything that happens for it, as one trace: from the request that placed it through its
 * batches, jobs, attempts and calls of others. Each part of the service is handed over to be followed, and comes back
 * doing the same; where nothing is traced it is the very same.
 */
export interface Tracing {
  /** What follows jobs from who adds them to who does them; undefined where nothing is traced. */
  readonly jobs: JobTracing | undefined;
  /** What every log line is to tell of the trace that it belongs to; undefined where nothing is traced. */
  readonly logFields: (() => object) | undefined;
  /** Follows every request but those for health and metrics. */
  listener(listener: RequestListener): RequestListener;
  /** Follows each caller into the batch that it shares with others. */
  commit(commit: Commit): Commit;
  /** Follows each attempt. */
  attempts<Execution extends { readonly outcome: string }>(
    attempts: Attempts<Execution>,
  ): Attempts<Execution>;
  /** The same way of taking orders, which writes down with each where its trace began. */
  accept<Order extends Traced, Created>(
    accept: (order: Order) => Promise<Created>,
  ): (order: Order) => Promise<Created>;
  /** Says where that is read, for orders that nobody has followed until then. */
  readTraceparents(read: ReadTraceparents): void;
  /** Carries an order on that nobody followed until here: as a part of its own trace, and linked with this one. */
  resume<Result>(orderId: string, work: () => Promise<Result>): Promise<Result>;
  /** What another process needs to go on in the trace of here and now; undefined where nobody follows it. */
  carried(): string | undefined;
  /** Does work as a part of the trace that another process {@link carried} over. */
  continueFrom<Result>(carried: string | undefined, work: () => Promise<Result>): Promise<Result>;
  /** Has the log tell when traces can't be handed over. */
  logTo(log: Logger): void;
  /** Hands over what is left, within seconds. */
  stop(): Promise<void>;
}

/** What the SDK does not read from the environment by itself. */
export interface TracingSettings {
  /** How traces are handed over: both over HTTP. */
  readonly protocol: "http/protobuf" | "http/json";
  /** Whether what clients say in `baggage` goes along with their orders, into jobs and to services outside. */
  readonly baggage: boolean;
}
