import type { RequestListener } from "node:http";
import type { JobTracing } from "../../../queues/queues.ts";
import { ConfigError } from "../../config.ts";
import type { Commit } from "../group-commit.ts";
import type { Logger } from "../log.ts";
import type { AttemptMark } from "../../order/event.ts";
import type { NewOrder } from "../../order/order.ts";
import type { Step } from "../../order/stage.ts";

/** What makes attempts at the steps of orders, as far as tracing sees it. */
export interface Attempts<Execution extends { readonly outcome: string }> {
  readonly execute: (
    orderId: string,
    step: Step,
    signal: AbortSignal,
    mark?: AttemptMark,
  ) => Promise<Execution>;
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
  accept<Created>(accept: (order: NewOrder) => Promise<Created>): (order: NewOrder) => Promise<Created>;
  /** Says where that is read, for orders that are taken up again. */
  readTraceparents(read: ReadTraceparents): void;
  /** Carries an order on that nobody followed until here: as a part of its own trace, and linked with this one. */
  takeUp<Result>(orderId: string, work: () => Promise<Result>): Promise<Result>;
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
  accept: (accept) => accept,
  readTraceparents: () => undefined,
  takeUp: (_orderId, work) => work(),
  logTo: () => undefined,
  stop: async () => undefined,
};

type Environment = Readonly<Record<string, string | undefined>>;

/** What the SDK does not read from the environment by itself. */
export interface TracingSettings {
  /** How traces are handed over: both over HTTP. */
  readonly protocol: "http/protobuf" | "http/json";
  /** Whether what clients say in `baggage` goes along with their orders, into jobs and to services outside. */
  readonly baggage: boolean;
}

/**
 * Tracing as OpenTelemetry's own variables say: it is off unless they name an endpoint. Then nothing of OpenTelemetry's
 * SDK is loaded.
 *
 * @param name of the service, unless the variables name it. @throws {ConfigError} for what is not supported, or not
 * understood.
 */
export async function startTracing(
  environment: Environment,
  service: { readonly name: string; readonly version: string },
): Promise<Tracing> {
  const settings = settingsIn(environment);
  if (settings === undefined) return NOTHING_TRACED;
  const { OpenTelemetryTracing } = await import("./opentelemetry.ts");
  return OpenTelemetryTracing.start(service, settings);
}

/** Undefined where tracing is off. @throws {ConfigError} with every fault. Exported for its test. */
export function settingsIn(environment: Environment): TracingSettings | undefined {
  const valueOf = (name: string) => environment[name]?.trim() || undefined;
  if (valueOf("OTEL_SDK_DISABLED")?.toLowerCase() === "true") return undefined;
  const exporter = valueOf("OTEL_TRACES_EXPORTER");
  if (exporter === "none") return undefined;
  const endpoints = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"].flatMap((name) => {
    const value = valueOf(name);
    return value === undefined ? [] : [{ name, value }];
  });
  if (exporter === undefined && endpoints.length === 0) return undefined;

  const faults: string[] = [];
  if (exporter !== undefined && exporter !== "otlp")
    faults.push(`OTEL_TRACES_EXPORTER must be otlp or none, not ${exporter}`);
  for (const { name, value } of endpoints) {
    // Without its beginning, as gRPC has it, an address has a host for its scheme.
    if (!/^https?:\/\//i.test(value) || !URL.canParse(value))
      faults.push(`${name} must be an address that begins with http:// or https://`);
  }
  const name = ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"].find(valueOf);
  const protocol = (name && valueOf(name)) ?? "http/protobuf";
  if (protocol !== "http/protobuf" && protocol !== "http/json")
    faults.push(`${name} must be http/protobuf or http/json, not ${protocol}`);
  const propagators = (valueOf("OTEL_PROPAGATORS") ?? "tracecontext").split(",").map((each) => each.trim());
  const unknown = propagators.filter((each) => each !== "tracecontext" && each !== "baggage");
  if (unknown.length > 0 || !propagators.includes("tracecontext"))
    faults.push("OTEL_PROPAGATORS must be tracecontext, or tracecontext,baggage");
  if (faults.length > 0) throw new ConfigError(faults);
  return {
    protocol: protocol === "http/json" ? protocol : "http/protobuf",
    baggage: propagators.includes("baggage"),
  };
}
