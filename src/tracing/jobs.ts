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
import type { JobTracing } from "../../queues/queues.ts";
import { submittedIn } from "./batches.ts";

/**
 * Jobs and their attempts, by BullMQ's own telemetry. Each job is a part of the trace of its order, although many are
 * added in one go.
 */
export function jobTracing(): JobTracing {
  const { tracer, contextManager } = new BullMQOtel({ tracerName: "bullmq" });
  return {
    telemetry: {
      contextManager: Object.assign(contextManager, { root: () => ROOT_CONTEXT }),
      tracer: {
        // BullMQ looks for stalled jobs and so on, now and then: none of that is of anybody's trace.
        startSpan: (name, options, where?: Context) =>
          options?.kind === SpanKind.CONSUMER || trace.getSpan(where ?? context.active())
            ? tracer.startSpan(name, options, where)
            : new BullMQOTelSpan(trace.wrapSpanContext(INVALID_SPAN_CONTEXT)),
      },
    },
    traceOf(orderId) {
      const where = submittedIn((item) => item === orderId || isOf(item, orderId));
      if (where === undefined) return undefined;
      const carrier: Record<string, string> = {};
      propagation.inject(where, carrier);
      return JSON.stringify(carrier);
    },
  };
}

function isOf(item: unknown, orderId: string): boolean {
  return typeof item === "object" && item !== null && "orderId" in item && item.orderId === orderId;
}
