import { readLimits } from "../../queues/controls.ts";
import { haveGuests } from "../../queues/telemetry/heartbeats.ts";
import type { WorkerHeartbeat } from "../../workers/heartbeat.ts";
import { InPlace } from "../../workers/in-place.ts";
import type { StageWorker } from "../../workers/stage-worker.ts";
import { batchedEnqueue } from "../engine/batching-store.ts";
import type { CrashPoint } from "../engine/crash-points.ts";
import { lifecycle } from "../order/lifecycle.ts";
import type { Step } from "../order/stage.ts";
import { shared, sharedInTurn } from "../platform/shared.ts";
import type { Base } from "./base.ts";
import type { WorkerConfig } from "./config.ts";
import type { OpenQueues } from "./queues.ts";

/** Milliseconds for which the first stage's limits are remembered: it has no guests, so nothing depends on the moment. */
const REMEMBERED_MS = 1_000;

/** How this process hands orders on from step to step. */
export function openHandOver(
  config: Pick<WorkerConfig, "HAND_OVER">,
  { commit }: Pick<Base, "commit">,
  { redis, queues }: Pick<OpenQueues, "redis" | "queues">,
  options: {
    readonly workerOf: (step: Pick<Step, "name">) => StageWorker | undefined;
    readonly heartbeat: Pick<WorkerHeartbeat, "announceGuests" | "retractGuests">;
    readonly crashHook?: ((point: CrashPoint, step: string) => void) | undefined;
  },
): InPlace {
  const { workerOf, heartbeat, crashHook } = options;
  const isInPlace = config.HAND_OVER === "in-place";
  const jobs = batchedEnqueue(queues, { name: "next_jobs", commit });
  const limits = new Map(
    lifecycle.steps.map((step, index) => {
      const read = () => readLimits({ queues, redis }, step);
      return [step.name, index === 0 ? shared(REMEMBERED_MS, read) : sharedInTurn(read)];
    }),
  );
  return new InPlace({
    workerOf: isInPlace ? workerOf : () => undefined,
    enqueue: (job) => jobs.submit(job),
    limitsOf: ({ name }) => limits.get(name)?.() ?? Promise.reject(new Error(`there is no step ${name}`)),
    announceGuests: (step) => heartbeat.announceGuests(step),
    retractGuests: () => heartbeat.retractGuests(),
    haveGuests: (step) => haveGuests(redis, step),
    onQueued: crashHook && (({ from }) => crashHook("after enqueue", lifecycle.stageTo(from)?.name ?? "")),
  });
}
