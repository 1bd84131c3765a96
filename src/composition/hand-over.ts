import { readLimits, type Limits } from "../../queues/controls.ts";
import { haveGuests } from "../../queues/telemetry/heartbeats.ts";
import type { WorkerHeartbeat } from "../../workers/heartbeat.ts";
import { InPlace } from "../../workers/in-place.ts";
import type { StageWorker } from "../../workers/stage-worker.ts";
import { batchedEnqueue } from "../engine/batching-store.ts";
import type { CrashPoint } from "../engine/crash-points.ts";
import { lifecycle } from "../order/lifecycle.ts";
import type { Step } from "../order/stage.ts";
import { shared } from "../platform/shared.ts";
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
  const limits = commit<Pick<Step, "name">, Limits>({
    name: "limits",
    flush: (steps) => readLimits({ queues, redis }, steps),
    // Redis answers all or none.
    kindOf: () => "away",
  });
  const first = lifecycle.stages[0]?.name;
  const firstLimits = shared(REMEMBERED_MS, () => limits.submit({ name: first ?? "" }));
  return new InPlace({
    workerOf: isInPlace ? workerOf : () => undefined,
    enqueue: (job) => jobs.submit(job),
    limitsOf: (step) => (step.name === first ? firstLimits() : limits.submit(step)),
    announceGuests: (step) => heartbeat.announceGuests(step),
    retractGuests: () => heartbeat.retractGuests(),
    haveGuests: (step) => haveGuests(redis, step),
    onQueued: crashHook && (({ from }) => crashHook("after enqueue", lifecycle.stageTo(from)?.name ?? "")),
  });
}
