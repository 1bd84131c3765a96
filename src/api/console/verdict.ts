import { FOREIGN_REDIS } from "../../../queues/marker.ts";
import { bounded, counted } from "./format.ts";
import type { Status, StepStatus } from "./status.ts";

/** `bad`: orders do not get on. `attention`: some do not. `good`: all is well. */
export type Level = "good" | "attention" | "bad";

export interface Verdict {
  readonly level: Level;
  /** What a stranger should know first. */
  readonly text: string;
  readonly to?: Finding["to"];
  /** What else there is. */
  readonly others: readonly Finding[];
}

export interface Finding {
  readonly level: Exclude<Level, "good">;
  readonly text: string;
  /** The page where something can be done about it, below the console's root. */
  readonly to?: "/failures" | "/queues" | undefined;
}

/** Milliseconds after which a stage that does nothing, though orders wait, is worth a word. */
const LATE_MS = 120_000;

/** What is said of a stage whose service is in trouble. A ping that is answered is never called none. */
const TROUBLES = {
  away: (service, stage) =>
    `${stage} is held, since ${service} does not answer: orders wait there, and go on by themselves.`,
  failing: (service, stage) =>
    `${service} answers its health check, but fails order after order in ${stage}: orders wait there, and are tried again by themselves.`,
  "half open": (service, stage) =>
    `${service} answers again: ${stage} tries a share of its orders before it takes all of them.`,
} satisfies Record<string, (service: string, stage: string) => string>;

/** What is to be said of the whole service, in one sentence. */
export function verdictOf(status: Status): Verdict {
  const [first, ...others] = findings(status).toSorted((a, b) => weight(b) - weight(a));
  if (first) return { ...first, others };
  const workers = status.workers && `${counted(status.workers.length, "worker")} carry orders on`;
  return {
    level: "good",
    text: `All is well: ${workers?.replace("1 worker carry", "1 worker carries") ?? "the servers answer"}, and no order has failed.`,
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
  if (!mysql.ready) say("bad", "MySQL is not ready: no orders are taken.");
  if (redis && !redis.ready)
    say(
      "bad",
      redis.detail.includes(FOREIGN_REDIS)
        ? `${FOREIGN_REDIS}: orders are taken, and wait. Set REDIS_PREFIX, or another database in REDIS_URL.`
        : "Redis is not ready: orders are taken, and wait.",
    );
  if (workers?.length === 0) say("bad", "No worker is alive: orders are taken, and wait.");
  for (const step of steps) found.push(...findingsOf(step, workers));
  return found;
}

function findingsOf(
  { name, queue, failed, pace, oldest }: StepStatus,
  workers: Status["workers"],
): Finding[] {
  const found: Finding[] = [];
  const attention = (text: string, to?: Finding["to"]) => found.push({ level: "attention", text, to });
  const own = workers?.filter(({ steps }) => steps.some((step) => step.name === name));
  if (workers && workers.length > 0 && own?.length === 0)
    found.push({ level: "bad", text: `No worker works on ${name}: orders wait there.` });
  if (queue?.paused) attention(`${name} is paused: orders wait there.`, "/queues");
  const breakers = workers?.flatMap(({ open }) => open.filter(({ stage }) => stage === name)) ?? [];
  for (const [trouble, say] of Object.entries(TROUBLES)) {
    const those = breakers.filter((breaker) => (breaker.trouble ?? "away") === trouble);
    const services = [...new Set(those.map(({ service }) => service ?? "its service"))].join(", ");
    if (those.length > 0) attention(say(services, name));
  }
  const standsStill = own && own.length > 0 && queue && !queue.paused && breakers.length === 0;
  const isLate = oldest !== undefined && Date.now() - oldest.since.getTime() > LATE_MS;
  if (standsStill && queue.waiting > 0 && queue.active === 0 && pace?.perMinute === 0 && isLate)
    attention(`${name} has ${counted(queue.waiting, "order")} waiting, and has done none for minutes.`);
  if (failed && failed.count > 0) {
    const orders = counted(bounded(failed), "order");
    attention(
      `${orders} failed in ${name}, and ${failed.count === 1 ? "waits" : "wait"} for you.`,
      "/failures",
    );
  }
  return found;
}
