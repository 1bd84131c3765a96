import { expect, test } from "@jest/globals";
import { settingsIn } from "../../../src/platform/tracing/tracing.ts";

const ENDPOINT = { OTEL_EXPORTER_OTLP_ENDPOINT: "http://collector:4318" };
const DEFAULTS = { protocol: "http/protobuf", baggage: false };

test.each([
  [{}],
  [{ OTEL_EXPORTER_OTLP_ENDPOINT: "" }],
  [{ OTEL_SERVICE_NAME: "shop", OTEL_TRACES_SAMPLER: "always_on" }],
  [{ ...ENDPOINT, OTEL_SDK_DISABLED: "true" }],
  [{ ...ENDPOINT, OTEL_SDK_DISABLED: "TRUE", OTEL_EXPORTER_OTLP_PROTOCOL: "grpc" }],
  [{ ...ENDPOINT, OTEL_TRACES_EXPORTER: "none" }],
])("with %j it is off", (environment) => {
  expect(settingsIn(environment)).toBeUndefined();
});

test.each([
  [ENDPOINT, DEFAULTS],
  [{ OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: "https://collector/v1/traces" }, DEFAULTS],
  [{ OTEL_TRACES_EXPORTER: "otlp" }, DEFAULTS],
  [{ ...ENDPOINT, OTEL_SDK_DISABLED: "false" }, DEFAULTS],
  [
    { ...ENDPOINT, OTEL_EXPORTER_OTLP_PROTOCOL: "http/json" },
    { ...DEFAULTS, protocol: "http/json" },
  ],
  [
    {
      ...ENDPOINT,
      OTEL_EXPORTER_OTLP_PROTOCOL: "grpc",
      OTEL_EXPORTER_OTLP_TRACES_PROTOCOL: "http/protobuf",
    },
    DEFAULTS,
  ],
  [{ ...ENDPOINT, OTEL_PROPAGATORS: "tracecontext" }, DEFAULTS],
  [
    { ...ENDPOINT, OTEL_PROPAGATORS: "tracecontext, baggage" },
    { ...DEFAULTS, baggage: true },
  ],
])("with %j it is on", (environment, settings) => {
  expect(settingsIn(environment)).toEqual(settings);
});

test("every fault is told at once", () => {
  const environment = {
    OTEL_TRACES_EXPORTER: "jaeger",
    OTEL_EXPORTER_OTLP_ENDPOINT: "collector:4317",
    OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: "http://",
    OTEL_EXPORTER_OTLP_PROTOCOL: "grpc",
    OTEL_PROPAGATORS: "b3",
  };
  const address = "must start with http:// or https://";
  expect(() => settingsIn(environment)).toThrow(
    [
      "the configuration is invalid:",
      "OTEL_TRACES_EXPORTER must be otlp or none, not jaeger",
      `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT ${address}`,
      `OTEL_EXPORTER_OTLP_ENDPOINT ${address}`,
      "OTEL_EXPORTER_OTLP_PROTOCOL must be http/protobuf or http/json, not grpc",
      "OTEL_PROPAGATORS must be tracecontext, or tracecontext,baggage",
    ].join("\n  "),
  );
});
