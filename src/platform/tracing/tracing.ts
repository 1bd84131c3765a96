import { ConfigError } from "../config-error.ts";
import type { Tracing, TracingSettings } from "./contract.ts";

const NOTHING_TRACED: Tracing = {
  jobs: undefined,
  logFields: undefined,
  listener: (listener) => listener,
  commit: (commit) => commit,
  attempts: (attempts) => attempts,
  accept: (accept) => accept,
  readTraceparents: () => undefined,
  resume: (_orderId, work) => work(),
  carried: () => undefined,
  continueFrom: (_carried, work) => work(),
  logTo: () => undefined,
  stop: async () => undefined,
};

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * Tracing, configured by OpenTelemetry's standard variables. Unless they name an endpoint, it is off and the
 * SDK is not loaded.
 *
 * @param name the service's default name
 * @throws {ConfigError} for unsupported or invalid settings
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

/**
 * Parses the settings; undefined if tracing is off. Exported for its test. @throws {ConfigError} with every
 * fault
 */
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
    // Without a scheme, as for gRPC, the host would be parsed as the scheme.
    if (!/^https?:\/\//i.test(value) || !URL.canParse(value))
      faults.push(`${name} must start with http:// or https://`);
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
