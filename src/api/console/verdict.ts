import { FOREIGN_REDIS } from "../../../queues/marker.ts";
import { bounded, counted, duration } from "./format.ts";
import type { Status, StepStatus } from "./status.ts";
import { nowMs } from "../../platform/clock.ts";
import { TOLERATED_MS } from "../../platform/clock.ts";
import { clockInWords } from "../../platform/clock-watch.ts";

/** `bad`: orders are stuck. `attention`: some are. `good`: all is well. */
export type Level = "good" | "attention" | "bad";

export interface Verdict {
  readonly level: Level;
  /** The most important finding. */
  readonly text: string;
  readonly to?: Finding["to"];
  /** The other findings. */
  readonly others: readonly Finding[];
}

export interface Finding {
  readonly level: Exclude<Level, "good">;
  readonly text: string;
  /** The page where an operator can act on it, relative to the console's root. */
  readonly to?: "/failures" | "/queues" | "/webhooks" | undefined;
}

/** Milliseconds after which an idle stage with waiting orders is reported. */
const LATE_MS = 120_000;
/** Milliseconds after which an order that has not moved is reported where no queue tells whether something will move it. */
const STILL_MS = 10 * 60_000;
/** Milliseconds after which a webhook endpoint that fails is reported. */
const DEAD_MS = 60_000;

/** Messages for the breaker's states. They call a service unresponsive only if its ping got no answer. */
const TROUBLES = {
  away: (service, stage) =>
    `${stage} is on hold because ${service} does not answer. Orders wait and continue automatically.`,
  misconfigured: (service, stage, reasons) =>
    `${stage} is on hold because ${service} is not set up right: ${reasons}. Orders wait and continue automatically once it is.`,
  failing: (service, stage) =>
    `${service} answers its health check but fails order after order in ${stage}. Orders wait and are retried automatically.`,
  "half open": (service, stage) =>
    `${service} answers again: ${stage} tries some orders before it takes all.`,
} satisfies Record<string, (service: string, stage: string, reasons: string) => string>;

/** The state of the whole service in one sentence, plus further findings. */
export function verdictOf(status: Status): Verdict {
  const [first, ...others] = findings(status).toSorted((a, b) => weight(b) - weight(a));
  if (first) return { ...first, others };
  const workers = status.workers && `${counted(status.workers.length, "worker")} running`;
  const waiting = status.steps.reduce((sum, step) => sum + (step.waiting?.count ?? 0), 0);
  const waits = waiting === 0 ? "" : ` ${counted(waiting, "order waits", "orders wait")} for somebody else.`;
  return {
    level: "good",
    text: `All is well: ${workers ?? "the servers answer"}, no failed orders.${waits}`,
    others: [],
  };
}

function weight({ level }: Finding): number {
  return level === "bad" ? 1 : 0;
}

function findings(status: Status): Finding[] {
  const { mysql, redis, steps, workers } = status;
  const found: Finding[] = [];
  const say = (level: Finding["level"], text: string) => found.push({ level, text });
  if (!mysql.ready) say("bad", "MySQL is not ready: no orders are accepted.");
  if (redis && !redis.ready)
    say(
      "bad",
      redis.detail.includes(FOREIGN_REDIS)
        ? `${FOREIGN_REDIS}: orders are accepted but wait. Set REDIS_PREFIX, or another database in REDIS_URL.`
        : "Redis is not ready: orders are accepted but wait.",
    );
  for (const [what, skewMs] of clocks(status))
    if (Math.abs(skewMs) > TOLERATED_MS)
      say("attention", `The clock of ${what} is ${clockInWords(skewMs)}: set it. Deadlines go by MySQL's.`);
  for (const { host, pid, left = [] } of workers ?? [])
    if (left.length > 0)
      say(
        "attention",
        `Worker ${host}:${pid} has another pipeline than the one in force: it leaves ${left.join(", ")} to others. Replace it, once no orders stand in a status that only it knows.`,
      );
  if (workers?.length === 0) say("bad", "No worker is running: orders are accepted but wait.");
  for (const step of steps) found.push(...findingsOf(step, workers));
  if (redis === undefined)
    for (const { name, oldest } of steps) {
      const stillMs = oldest === undefined ? 0 : nowMs() - oldest.since.getTime();
      if (stillMs > STILL_MS)
        say(
          "attention",
          `An order has not moved for ${duration(stillMs)} before ${name}. See the API's logs.`,
        );
    }
  const { unread = [] } = status;
  if (unread.length > 0 && mysql.ready && redis?.ready !== false)
    say("attention", `Could not read ${unread.join(", ")}: what is wrong there is not shown.`);
  for (const { url, description, failingSince, lastError } of status.failingEndpoints ?? []) {
    const forMs = nowMs() - failingSince.getTime();
    const text = `Webhook endpoint ${description ?? url} has failed for ${duration(forMs)}: ${lastError ?? "no reason known"}.`;
    if (forMs > DEAD_MS)
      found.push({ level: "attention", text: `${text} Its messages wait.`, to: "/webhooks" });
  }
  for (const { url, description, disabledAt, disabledReason } of status.disabledEndpoints ?? [])
    found.push({
      level: "attention",
      text: `Webhook endpoint ${description ?? url} was disabled ${duration(nowMs() - disabledAt.getTime())} ago: ${disabledReason}. Enable or delete it.`,
      to: "/webhooks",
    });
  return found;
}

/** Each process that is known, in words, and how far its clock is ahead of MySQL's. */
function clocks({ clockSkewMs = 0, workers = [] }: Status): (readonly [string, number])[] {
  return [
    ["this API", clockSkewMs],
    ...workers.map((worker) => [`worker ${worker.host}:${worker.pid}`, worker.clockSkewMs ?? 0] as const),
  ];
}

function findingsOf(
  { name, queue, active, failed, pace, oldest, stranded }: StepStatus,
  workers: Status["workers"],
): Finding[] {
  const found: Finding[] = [];
  const attention = (text: string, to?: Finding["to"]) => found.push({ level: "attention", text, to });
  const own = workers?.filter(({ steps }) => steps.some((step) => step.name === name));
  if (workers && workers.length > 0 && own?.length === 0)
    found.push({ level: "bad", text: `No worker processes ${name}: orders wait there.` });
  if (queue?.paused) attention(`${name} is paused: orders wait there.`, "/queues");
  const breakers = workers?.flatMap(({ open }) => open.filter(({ stage }) => stage === name)) ?? [];
  for (const [trouble, say] of Object.entries(TROUBLES)) {
    const those = breakers.filter((breaker) => (breaker.trouble ?? "away") === trouble);
    const services = [...new Set(those.map(({ service }) => service ?? "its service"))].join(", ");
    const reasons = [...new Set(those.flatMap(({ reason }) => reason ?? []))].join("; ");
    if (those.length > 0) attention(say(services, name, reasons));
  }
  const isIdle = own && own.length > 0 && queue && !queue.paused && breakers.length === 0;
  const isLate = oldest !== undefined && nowMs() - oldest.since.getTime() > LATE_MS;
  if (isIdle && queue.waiting > 0 && active === 0 && pace?.perMinute === 0 && isLate)
    attention(`${name} has ${counted(queue.waiting, "order")} waiting but has processed none for minutes.`);
  if (stranded && stranded.count > 0) {
    const orders = counted(bounded(stranded), "order has", "orders have");
    found.push({
      level: "bad",
      text: `${orders} not moved for minutes before ${name}, without a job that will. See the workers' logs.`,
    });
  }
  if (failed && failed.count > 0) {
    const orders = counted(bounded(failed), "order");
    attention(`${orders} failed in ${name}.`, "/failures");
  }
  return found;
}
