import { randomUUID } from "node:crypto";
import type { RequestListener } from "node:http";
import { context, diag, DiagLogLevel, trace } from "@opentelemetry/api";
import { OTLPTraceExporter as JsonExporter } from "@opentelemetry/exporter-trace-otlp-http";
import { OTLPTraceExporter as ProtobufExporter } from "@opentelemetry/exporter-trace-otlp-proto";
import { detectResources, envDetector, resourceFromAttributes } from "@opentelemetry/resources";
import { BatchSpanProcessor, NodeTracerProvider } from "@opentelemetry/sdk-trace-node";
import type { JobTracing } from "../../queues/queues.ts";
import type { Commit } from "../group-commit.ts";
import type { Logger } from "../log.ts";
import { followAttempts } from "./attempts.ts";
import { followBatches } from "./batches.ts";
import { followFetches } from "./fetches.ts";
import { jobTracing } from "./jobs.ts";
import { followRequests } from "./requests.ts";
import { followStatements } from "./statements.ts";
import type { Attempts, Protocol, Tracing } from "./tracing.ts";

/** The last traces are handed over within so many milliseconds, or not at all: a process that ends must end. */
const LAST_EXPORT_MS = 2_000;

/**
 * Tracing with OpenTelemetry. What is followed says so itself, and what others wrote is followed by the channels on which
 * it tells what it does: nothing is patched. (The instrumentations that patch need a hook in Node's loader before the
 * first import, for ES modules as these are, and those for Redis would show every command of BullMQ's.)
 */
export class OpenTelemetryTracing implements Tracing {
  readonly #provider: NodeTracerProvider;
  readonly jobs: JobTracing;

  private constructor(provider: NodeTracerProvider) {
    this.#provider = provider;
    this.jobs = jobTracing();
  }

  /** Endpoint, sampler, limits and resource are as the environment says. Once a process. */
  static start(
    service: { readonly name: string; readonly version: string },
    protocol: Protocol,
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
    provider.register();
    followStatements();
    followFetches();
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

  logTo(log: Logger): void {
    const tell = (message: string) => log.warn({ error: message }, "traces could not be handed over");
    const silent = () => undefined;
    diag.setLogger(
      { error: tell, warn: tell, info: silent, debug: silent, verbose: silent },
      { logLevel: DiagLogLevel.WARN, suppressOverrideMessage: true },
    );
  }

  async stop(): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, LAST_EXPORT_MS);
    });
    await Promise.race([this.#provider.shutdown(), late]);
    clearTimeout(timer);
  }
}
