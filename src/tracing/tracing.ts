import type { RequestListener } from "node:http";
import type { JobTracing } from "../../queues/queues.ts";
import type { Commit } from "../group-commit.ts";
import type { Logger } from "../log.ts";
import type { AttemptMark } from "../order/event.ts";
import type { Step } from "../order/stage.ts";
import { StartupError } from "../startup.ts";

/** What makes attempts at the steps of orders, as far as tracing sees it. */
export interface Attempts<Execution extends { readonly outcome: string }> {
  readonly execute: (
    orderId: string,
    step: Step,
    signal: AbortSignal,
    mark?: AttemptMark,
  ) => Promise<Execution>;
}

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
  /** Has the log tell when traces can't be handed over. */
  logTo(log: Logger): void;
  /** Hands over what is left, within seconds. */
  stop(): Promise<void>;
}

const NOTHING_TRACED: Tracing = {
  jobs: undefined,
  logFields: undefined,
  listener: (listener) => listener,
  commit: (commit) => commit,
  attempts: (attempts) => attempts,
  logTo: () => undefined,
  stop: async () => undefined,
};

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * Tracing as OpenTelemetry's own variables say: it is off unless they name an endpoint. Then nothing of OpenTelemetry's
 * SDK is loaded.
 *
 * @param name of the service, unless the variables name it. @throws {StartupError} for what is not supported.
 */
export async function startTracing(
  environment: Environment,
  service: { readonly name: string; readonly version: string },
): Promise<Tracing> {
  if (!isWanted(environment)) return NOTHING_TRACED;
  const { OpenTelemetryTracing } = await import("./opentelemetry.ts");
  return OpenTelemetryTracing.start(service, protocolOf(environment));
}

function isWanted(environment: Environment): boolean {
  if (environment["OTEL_SDK_DISABLED"]?.toLowerCase() === "true") return false;
  const exporter = environment["OTEL_TRACES_EXPORTER"] || undefined;
  if (exporter === "none") return false;
  if (exporter !== undefined && exporter !== "otlp")
    throw new StartupError(`OTEL_TRACES_EXPORTER must be otlp or none, not ${exporter}`);
  return Boolean(
    exporter ??
    (environment["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"] || environment["OTEL_EXPORTER_OTLP_ENDPOINT"]),
  );
}

/** How traces are handed over: both over HTTP. */
export type Protocol = "http/protobuf" | "http/json";

function protocolOf(environment: Environment): Protocol {
  const protocol =
    environment["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"] ||
    environment["OTEL_EXPORTER_OTLP_PROTOCOL"] ||
    "http/protobuf";
  if (protocol !== "http/protobuf" && protocol !== "http/json")
    throw new StartupError(`OTEL_EXPORTER_OTLP_PROTOCOL must be http/protobuf or http/json, not ${protocol}`);
  return protocol;
}
