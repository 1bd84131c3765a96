import { openIsolated } from "../../src/composition/isolated.ts";
import { configure, PROCESSES } from "../../src/composition/config.ts";
import { failureOf } from "../../src/engine/failure.ts";
import { lifecycle } from "../../src/order/lifecycle.ts";
import { SIGNALS } from "../../src/platform/shutdown.ts";
import { runMain } from "../../src/platform/startup.ts";
import { withinTime } from "../../src/platform/time-limit.ts";
import { ALIVE_INTERVAL_MS, type Answer, type Request } from "./messages.ts";

/** The isolated process: runs attempts for its worker, and exits with it. */
runMain(async () => {
  const { executor, tracing, services } = await openIsolated(await configure(PROCESSES.worker, process.env));
  const aborts = new Map<number, AbortController>();

  const attempt = async (request: Request & { type: "attempt" }) => {
    const { id, orderId, step: name, timeoutMs } = request;
    const mark = { attempt: request.attempt, startedAt: new Date(request.startedAt) };
    const abort = new AbortController();
    aborts.set(id, abort);
    try {
      const step = lifecycle.steps.find((each) => each.name === name);
      if (step === undefined) throw new Error(`the pipeline has no step ${name}`);
      const execution = await withinTime(timeoutMs, abort.signal, (signal) =>
        tracing.continueFrom(request.trace, () => executor.execute(orderId, step, signal, mark)),
      );
      send({ type: "execution", id, execution });
    } catch (error) {
      send({ type: "failure", id, failure: failureOf(error, { timeoutMs }) });
    } finally {
      aborts.delete(id);
    }
  };

  process.on("message", (request: Request) => {
    if (request.type === "attempt") void attempt(request);
    else aborts.get(request.id)?.abort();
  });
  // Attempts under way will be repeated elsewhere; only export the last traces.
  process.on("disconnect", () => void tracing.stop().finally(() => process.exit(0)));
  if (!process.connected) process.exit(0);
  // What a terminal sends reaches this process too, but the worker decides when it exits.
  for (const signal of SIGNALS) process.on(signal, () => undefined);
  await services.start();
  send({ type: "ready" });
  setInterval(() => send({ type: "alive" }), ALIVE_INTERVAL_MS);
});

function send(answer: Answer): void {
  process.send?.(answer, () => undefined);
}
