import { loadConfig, PROCESSES } from "../../src/composition/config.ts";
import { COMMITS } from "../../src/platform/group-commit.ts";
import { createLogger } from "../../src/platform/log.ts";
import { lifecycle } from "../../src/order/lifecycle.ts";
import { Executor } from "../../src/engine/executor.ts";
import { failureOf } from "../../src/engine/failure.ts";
import { openDatabase, openResources } from "../../src/composition/resources.ts";
import { batchedEnqueue, BatchingStore } from "../../src/engine/batching-store.ts";
import { orderStore } from "../../db/order-store.ts";
import { withinTime } from "../../src/platform/time-limit.ts";
import { ALIVE_INTERVAL_MS, type Answer, type Request } from "./messages.ts";

/** The isolated process: makes the attempts that its worker asks for, and ends with it. */
function main(): void {
  const config = loadConfig(PROCESSES.worker, process.env);
  const log = createLogger({ name: "isolated", level: config.LOG_LEVEL });
  const database = openDatabase(config);
  const { queues, ports } = openResources(config, database, log);
  const commit = COMMITS[config.GROUP_COMMIT];
  const store = new BatchingStore({ store: orderStore(database), commit });
  const jobs = batchedEnqueue(queues, { name: "next_jobs", commit });
  const executor = new Executor({ lifecycle, ports, store, enqueue: (job) => jobs.submit(job) });
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
        executor.execute(orderId, step, signal, mark),
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
  process.on("disconnect", () => process.exit(0));
  // The terminal's Ctrl-C reaches this process too; when to end is its worker's to say.
  process.on("SIGINT", () => undefined);
  process.on("SIGTERM", () => undefined);
  say({ type: "ready" });
  setInterval(() => say({ type: "alive" }), ALIVE_INTERVAL_MS);
}

function say(answer: Answer): void {
  process.send?.(answer, () => undefined);
}

main();
