import { Worker } from "bullmq";
import { connectWorker } from "../../../queues/connection.ts";
import { jobId, jobOptions, type JobData } from "../../../queues/job.ts";
import { Queues } from "../../../queues/queues.ts";
import { lifecycle } from "../../../src/order/lifecycle.ts";
import { settingsOf } from "../../../src/order/stage.ts";
import { workerOptions } from "../../../workers/stage-worker.ts";

/**
 * Baseline for bare BullMQ: one queue per stage, whose jobs only add the next stage's job. Queues, jobs and
 * workers use the service's settings; there is no database and no log.
 */
const url = process.env["REDIS_URL"] ?? "";
const connection = connectWorker(url);
const onError = (error: Error) => process.stderr.write(`${error.message}\n`);
const queues = new Queues({ connection, lifecycle, onError });

const workers = lifecycle.stages.map((step) => {
  const next = lifecycle.due(step.to);
  const worker = new Worker<JobData>(
    step.name,
    async ({ data: { orderId } }) => {
      if (!next) return;
      const options = { ...jobOptions(settingsOf(next.step)), jobId: jobId(orderId, next) };
      await queues.of(next.step).add(next.step.name, { orderId }, options);
    },
    workerOptions({ step, settings: settingsOf(step), connection }),
  );
  return worker.on("error", onError);
});
await Promise.all(workers.map((worker) => worker.waitUntilReady()));
process.stdout.write(`${JSON.stringify({ msg: "worker ready" })}\n`);
process.on("SIGTERM", () => process.exit());
