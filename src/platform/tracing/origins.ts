import { context, ROOT_CONTEXT, trace, type Context } from "@opentelemetry/api";
import { W3CTraceContextPropagator } from "@opentelemetry/core";
import { tracer } from "./tracer.ts";
import type { ReadTraceparents } from "./contract.ts";

const TRACEPARENT = "traceparent";
const w3c = new W3CTraceContextPropagator();
const setter = { set: (carrier: Map<string, string>, key: string, value: string) => carrier.set(key, value) };
const getter = {
  get: (carrier: ReadonlyMap<string, string>, key: string) => carrier.get(key),
  keys: (carrier: ReadonlyMap<string, string>) => [...carrier.keys()],
};

/**
 * The stored trace contexts of orders, for code that continues an order without its context: after Redis has
 * lost its jobs, to undo it, or after it failed. They are stored with the order's first event.
 */
export class TraceOrigins {
  #read: ReadTraceparents = async () => new Map();

  /** Until then none is known. */
  readFrom(read: ReadTraceparents): void {
    this.#read = read;
  }

  /** The trace context to store for an order that is placed now; undefined if it is not traced. */
  static here(): string | undefined {
    if (!trace.getActiveSpan()?.isRecording()) return undefined;
    const carrier = new Map<string, string>();
    w3c.inject(context.active(), carrier, setter);
    return carrier.get(TRACEPARENT);
  }

  /**
   * For each of these orders that has a trace, a context from which to continue it: a span `resumed` in that
   * trace, linked to the current one, such as the request that caused it. Never throws.
   */
  async resume(orderIds: readonly string[]): Promise<ReadonlyMap<string, Context>> {
    // If MySQL is away, the order starts a new trace.
    const known = await this.#read(orderIds).catch(() => new Map<string, string>());
    const asking = trace.getActiveSpan();
    return new Map(
      [...known].map(([orderId, traceparent]) => {
        const began = w3c.extract(ROOT_CONTEXT, new Map([[TRACEPARENT, traceparent]]), getter);
        const mark = tracer.startSpan(
          "resumed",
          {
            attributes: { "conveyor.order.id": orderId },
            links: asking ? [{ context: asking.spanContext() }] : [],
          },
          began,
        );
        mark.end();
        if (asking?.isRecording()) asking.addLink({ context: mark.spanContext() });
        return [orderId, trace.setSpan(began, mark)];
      }),
    );
  }
}
