import { randomUUID } from "node:crypto";
import { on } from "node:events";
import { setTimeout as delay } from "node:timers/promises";
import { QueueEvents } from "bullmq";
import { queuePrefix } from "../../queues/keys.ts";
import { lifecycle } from "../../src/order/lifecycle.ts";
import { Failure } from "../shared/failure.ts";
import type { Closers, Context } from "./context.ts";
import { POLL_EVERY_MS } from "./order-rows.ts";
import { PipelineQueues } from "./pipeline-queues.ts";
import type { BenchProcess } from "./process.ts";

/** Longer than any order takes if everything works. */
const PATIENCE_MS = 30_000;

/** Bare BullMQ: a queue per stage, whose jobs only add the next stage's job, and no database. */
export class BareChain {
  readonly queues: PipelineQueues;
  readonly worker: BenchProcess;

  private constructor(queues: PipelineQueues, worker: BenchProcess) {
    this.queues = queues;
    this.worker = worker;
  }

  /** Starts a worker with empty queues. @throws {Failure} */
  static async open({ testBed, closers }: Pick<Context, "testBed" | "closers">): Promise<BareChain> {
    const sandbox = closers.add(await testBed.makeSandbox(), (opened) => opened.close());
    const queues = closers.add(new PipelineQueues(sandbox.redisUrl), (opened) => opened.close());
    const worker = await testBed.startBaseline("baselines/bullmq.ts", {
      name: "bullmq",
      env: { REDIS_URL: sandbox.redisUrl },
      readyMessage: "worker ready",
    });
    closers.add(worker, (started) => started.stop());
    return new BareChain(queues, worker);
  }

  /**
   * Listens to the last queue, which a drain must not: the events of ten thousand jobs take time.
   *
   * @returns a function that takes one order through all stages. It resolves when the last job is done.
   */
  async listen(closers: Closers): Promise<() => Promise<void>> {
    const last = lifecycle.stages.at(-1);
    if (last === undefined) throw new Error("a pipeline has a last stage");
    const connection = this.queues.redis;
    const events = new QueueEvents(last.name, { connection, prefix: queuePrefix(connection, last) });
    closers.add(events, (opened) => opened.close());
    events.on("error", () => {});
    await events.waitUntilReady();
    return async () => {
      const id = randomUUID();
      const completed = on(events, "completed", { signal: AbortSignal.timeout(PATIENCE_MS) });
      await this.queues.add([id]);
      try {
        for await (const [{ jobId }] of completed) if (jobId.startsWith(id)) return;
      } catch {
        throw new Failure(`bare BullMQ did not finish an order within ${PATIENCE_MS / 1_000} s`);
      }
    };
  }

  /** Waits until no job waits or runs. @throws when aborted, or if the worker exits */
  async untilEmpty(signal: AbortSignal): Promise<void> {
    while ((await this.queues.countJobs()) > 0) {
      this.worker.assertRunning();
      await delay(POLL_EVERY_MS, undefined, { signal });
    }
  }
}
