import {
  context,
  ROOT_CONTEXT,
  INVALID_SPAN_CONTEXT,
  propagation,
  trace,
  type Context,
} from "@opentelemetry/api";
import { SpanKind } from "bullmq";
import { BullMQOtel, BullMQOTelSpan } from "bullmq-otel";
import { submitted } from "./batches.ts";
import type { JobTracing } from "./contract.ts";
import type { TraceOrigins } from "./origins.ts";

/**
 * Traces jobs and their attempts with BullMQ's telemetry. Each job belongs to its order's trace, even if many
 * are added at once or something else adds it.
 */
export function jobTracing(origins: Pick<TraceOrigins, "resume">): JobTracing {
  const { tracer, contextManager } = new BullMQOtel({ tracerName: "bullmq" });
  return {
    telemetry: {
      contextManager: Object.assign(contextManager, { root: () => ROOT_CONTEXT }),
      tracer: {
        // BullMQ's periodic work, such as checking for stalled jobs, belongs to no trace.
        startSpan: (name, options, where?: Context) =>
          options?.kind === SpanKind.CONSUMER || trace.getSpan(where ?? context.active())
            ? tracer.startSpan(name, options, where)
            : new BullMQOTelSpan(trace.wrapSpanContext(INVALID_SPAN_CONTEXT)),
      },
    },
    async tracesOf(orderIds) {
      const here = new Map(submitted().map(({ item, context: where }) => [orderIdOf(item), where]));
      const others = orderIds.filter((orderId) => !here.has(orderId));
      const elsewhere = others.length > 0 ? await origins.resume(others) : new Map<string, Context>();
      const traces = new Map<string, string>();
      for (const orderId of orderIds) {
        const where = here.get(orderId) ?? elsewhere.get(orderId);
        if (where !== undefined) traces.set(orderId, carried(where));
      }
      return traces;
    },
  };
}

/** Serializes a context for jobs and messages. */
export function carried(where: Context): string {
  const carrier: Record<string, string> = {};
  propagation.inject(where, carrier);
  return JSON.stringify(carrier);
}

/** New orders are submitted as ids, others with their transition. */
function orderIdOf(item: unknown): unknown {
  return typeof item === "object" && item !== null && "orderId" in item ? item.orderId : item;
}
