import { randomUUID } from "node:crypto";
import type { RequestListener } from "node:http";
import { context, diag, DiagLogLevel, propagation, ROOT_CONTEXT, trace } from "@opentelemetry/api";
import { CompositePropagator, W3CBaggagePropagator, W3CTraceContextPropagator } from "@opentelemetry/core";
import { OTLPTraceExporter as JsonExporter } from "@opentelemetry/exporter-trace-otlp-http";
import { OTLPTraceExporter as ProtobufExporter } from "@opentelemetry/exporter-trace-otlp-proto";
import { UndiciInstrumentation } from "@opentelemetry/instrumentation-undici";
import { detectResources, envDetector, resourceFromAttributes } from "@opentelemetry/resources";
import { BatchSpanProcessor, NodeTracerProvider } from "@opentelemetry/sdk-trace-node";
import { ConfigError } from "../config-error.ts";
import type { Commit } from "../group-commit.ts";
import type { Logger } from "../log.ts";
import { settleWithin } from "../settle-within.ts";
import { followAttempts } from "./attempts.ts";
import { followBatches } from "./batches.ts";
import type { Attempts, JobTracing, ReadTraceparents, Traced, Tracing, TracingSettings } from "./contract.ts";
import { carried, jobTracing } from "./jobs.ts";
import { TraceOrigins } from "./origins.ts";
import { followRequests } from "./requests.ts";
import { followStatements } from "./statements.ts";

/** The last traces are handed over within so many milliseconds, or not at all: a process that ends must end. */
const LAST_EXPORT_MS = 2_000;
const NOTHING = () => undefined;

/**
 * Tracing with OpenTelemetry. What is followed says so itself, and what others wrote is followed by the channels on which
 * it tells what it does: jobs by BullMQ's own telemetry, calls of services outside by the official instrumentation of
 * Node's fetch, statements by what the driver tells. Nothing is patched: the other official instrumentations patch, which
 * for ES modules as these needs a hook in Node's loader before the first import; that of the driver would tell statements
 * with the customers' values in them, and those for Redis every command of BullMQ's.
 */
export class OpenTelemetryTracing implements Tracing {
  readonly #provider: NodeTracerProvider;
  readonly #origins = new TraceOrigins();
  /** Calls that belong to no trace begin none. */
  readonly #fetches = new UndiciInstrumentation({ requireParentforSpans: true });
  readonly jobs: JobTracing;

  private constructor(provider: NodeTracerProvider) {
    this.#provider = provider;
    this.jobs = jobTracing(this.#origins);
  }

  /**
   * Endpoint, sampler, limits and resource are as the environment says. Once a process.
   *
   * @throws {ConfigError} for what the SDK does not understand there: by itself it would go on without.
   */
  static start(
    service: { readonly name: string; readonly version: string },
    settings: TracingSettings,
  ): OpenTelemetryTracing {
    const faults: string[] = [];
    const fault = (message: string) => {
      // Not a fault: it may be left out.
      if (message.startsWith("OTEL_TRACES_SAMPLER_ARG is blank")) return;
      // What it would do instead is not done.
      faults.push(message.replace(/^Configuration: |, (using|defaulting|falling back) .*$/g, ""));
    };
    diag.setLogger(
      {
        error: fault,
        warn: fault,
        info: NOTHING,
        // Of the resource's attributes it says so in a whisper.
        debug: (message) =>
          message.startsWith("EnvDetector failed") && fault(`OTEL_RESOURCE_ATTRIBUTES: ${message}`),
        verbose: NOTHING,
      },
      { logLevel: DiagLogLevel.DEBUG, suppressOverrideMessage: true },
    );
    const tracing = OpenTelemetryTracing.#started(service, settings);
    diag.disable();
    if (faults.length > 0) throw new ConfigError(faults);
    return tracing;
  }

  static #started(
    service: { readonly name: string; readonly version: string },
    { protocol, baggage }: TracingSettings,
  ): OpenTelemetryTracing {
    const own = resourceFromAttributes({
      "service.name": service.name,
      "service.version": service.version,
      "service.instance.id": randomUUID(),
      "process.pid": process.pid,
    });
    const provider = new NodeTracerProvider({
      resource: own.merge(detectResources({ detectors: [envDetector] })),
      spanProcessors: [
        new BatchSpanProcessor(protocol === "http/json" ? new JsonExporter() : new ProtobufExporter()),
      ],
    });
    const propagators = [new W3CTraceContextPropagator(), ...(baggage ? [new W3CBaggagePropagator()] : [])];
    provider.register({ propagator: new CompositePropagator({ propagators }) });
    followStatements();
    return new OpenTelemetryTracing(provider);
  }

  readonly logFields = (): object => {
    const span = trace.getSpanContext(context.active());
    return span ? { trace_id: span.traceId, span_id: span.spanId } : {};
  };

  listener(listener: RequestListener): RequestListener {
    return followRequests(listener);
  }

  commit(commit: Commit): Commit {
    return followBatches(commit);
  }

  attempts<Execution extends { readonly outcome: string }>(
    attempts: Attempts<Execution>,
  ): Attempts<Execution> {
    return followAttempts(attempts);
  }

  accept<Order extends Traced, Created>(
    accept: (order: Order) => Promise<Created>,
  ): (order: Order) => Promise<Created> {
    return (order) => accept(Object.assign({}, order, { traceparent: TraceOrigins.here() }));
  }

  readTraceparents(read: ReadTraceparents): void {
    this.#origins.readFrom(read);
  }

  async resume<Result>(orderId: string, work: () => Promise<Result>): Promise<Result> {
    const own = (await this.#origins.resume([orderId])).get(orderId);
    return own ? context.with(own, work) : work();
  }

  carried(): string | undefined {
    return trace.getActiveSpan()?.isRecording() ? carried(context.active()) : undefined;
  }

  continueFrom<Result>(from: string | undefined, work: () => Promise<Result>): Promise<Result> {
    if (from === undefined) return work();
    return context.with(propagation.extract(ROOT_CONTEXT, JSON.parse(from)), work);
  }

  logTo(log: Logger): void {
    const tell = (message: string) => log.warn({ error: message }, "could not export traces");
    diag.setLogger(
      { error: tell, warn: tell, info: NOTHING, debug: NOTHING, verbose: NOTHING },
      { logLevel: DiagLogLevel.WARN, suppressOverrideMessage: true },
    );
  }

  async stop(): Promise<void> {
    this.#fetches.disable();
    await settleWithin(LAST_EXPORT_MS, this.#provider.shutdown(), () => undefined);
  }
}
