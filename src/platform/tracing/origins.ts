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
 * Where the traces of orders began, for whoever resumes an order without having followed it until then: after Redis has
 * lost its jobs, to undo it, or when it rested. It stands with the order's first event.
 */
export class TraceOrigins {
  #read: ReadTraceparents = async () => new Map();

  /** Until then none is known. */
  readFrom(read: ReadTraceparents): void {
    this.#read = read;
  }

  /** What is to be written down of an order that is placed here and now; undefined if nobody follows it. */
  static here(): string | undefined {
    if (!trace.getActiveSpan()?.isRecording()) return undefined;
    const carrier = new Map<string, string>();
    w3c.inject(context.active(), carrier, setter);
    return carrier.get(TRACEPARENT);
  }

  /**
   * Where each of these orders goes on from in its own trace, those left out that have none: at a mark that says so, and
   * is linked with what goes on here, such as the request of whoever wants it. Never throws.
   */
  async resume(orderIds: readonly string[]): Promise<ReadonlyMap<string, Context>> {
    // Nothing is known when MySQL is away: then the order is followed in a trace of its own.
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
