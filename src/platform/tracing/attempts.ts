import { settled, tracer } from "./tracer.ts";
import type { Attempts } from "./contract.ts";

/** Makes each attempt at a step a span. */
export function followAttempts<Execution extends { readonly outcome: string }>(
  attempts: Attempts<Execution>,
): Attempts<Execution> {
  const execute: Attempts<Execution>["execute"] = (orderId, step, signal, mark) =>
    tracer.startActiveSpan(
      step.name,
      {
        attributes: {
          "conveyor.order.id": orderId,
          "conveyor.stage": step.name,
          ...(mark && { "conveyor.attempt": mark.attempt }),
        },
      },
      (span) =>
        settled(span, async () => {
          const execution = await attempts.execute(orderId, step, signal, mark);
          span.setAttribute("conveyor.outcome", execution.outcome);
          return execution;
        }),
    );
  return { execute };
}
