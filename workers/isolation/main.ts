import { openIsolated } from "../../src/composition/isolated.ts";
import { loadConfig, PROCESSES } from "../../src/composition/config.ts";
import { failureOf } from "../../src/engine/failure.ts";
import { lifecycle } from "../../src/order/lifecycle.ts";
import { runMain } from "../../src/platform/startup.ts";
import { withinTime } from "../../src/platform/time-limit.ts";
import { ALIVE_INTERVAL_MS, type Answer, type Request } from "./messages.ts";

/** The isolated process: makes the attempts that its worker asks for, and ends with it. */
runMain(async () => {
  const { executor, tracing, services } = await openIsolated(loadConfig(PROCESSES.worker, process.env));
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
      say({ type: "execution", id, execution });
    } catch (error) {
      say({ type: "failure", id, failure: failureOf(error, { timeoutMs }) });
    } finally {
      aborts.delete(id);
    }
  };

  process.on("message", (request: Request) => {
    if (request.type === "attempt") void attempt(request);
    else aborts.get(request.id)?.abort();
  });
  // What it works on is made again elsewhere; only its last traces are worth a moment.
  process.on("disconnect", () => void tracing.stop().finally(() => process.exit(0)));
  if (!process.connected) process.exit(0);
  // The terminal's Ctrl-C reaches this process too; when to end is its worker's to say.
  process.on("SIGINT", () => undefined);
  process.on("SIGTERM", () => undefined);
  await services.start();
  say({ type: "ready" });
  setInterval(() => say({ type: "alive" }), ALIVE_INTERVAL_MS);
});

function say(answer: Answer): void {
  process.send?.(answer, () => undefined);
}
