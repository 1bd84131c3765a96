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
import { settleWithin } from "../time-limit.ts";
import { followAttempts } from "./attempts.ts";
import { followBatches } from "./batches.ts";
import type { Attempts, JobTracing, ReadTraceparents, Traced, Tracing, TracingSettings } from "./contract.ts";
import { carried, jobTracing } from "./jobs.ts";
import { TraceOrigins } from "./origins.ts";
import { followRequests } from "./requests.ts";
import { followStatements } from "./statements.ts";

/** Milliseconds to export the last traces at shutdown. */
const LAST_EXPORT_MS = 2_000;
const NOTHING = () => undefined;

/**
 * Tracing with OpenTelemetry. Our own code creates its spans; libraries are traced through the hooks they
 * provide: jobs by BullMQ's telemetry, outside calls by the official instrumentation of fetch, statements by
 * the driver's diagnostics channel. Nothing is patched: the other official instrumentations patch modules,
 * which for ES modules needs a loader hook before the first import. The driver's would also record statements
 * with customers' values, and Redis' every command of BullMQ.
 */
export class OpenTelemetryTracing implements Tracing {
  readonly #provider: NodeTracerProvider;
  readonly #origins = new TraceOrigins();
  /** Calls outside a trace start none. */
  readonly #fetches = new UndiciInstrumentation({ requireParentforSpans: true });
  readonly jobs: JobTracing;

  private constructor(provider: NodeTracerProvider) {
    this.#provider = provider;
    this.jobs = jobTracing(this.#origins);
  }

  /**
   * Starts tracing, with endpoint, sampler, limits and resource from the environment. Call it once per process.
   *
   * @throws {ConfigError} for settings that the SDK would only ignore
   */
  static start(
    service: { readonly name: string; readonly version: string },
    settings: TracingSettings,
  ): OpenTelemetryTracing {
    const faults: string[] = [];
    const fault = (message: string) => {
      // Not a fault: it is optional.
      if (message.startsWith("OTEL_TRACES_SAMPLER_ARG is blank")) return;
      // Leave out the SDK's fallback: startup fails instead.
      faults.push(message.replace(/^Configuration: |, (using|defaulting|falling back) .*$/g, ""));
    };
    diag.setLogger(
      {
        error: fault,
        warn: fault,
        info: NOTHING,
        // The SDK logs faults in the resource's attributes at a low level only.
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
