import { parseArgs } from "node:util";
import { validate as isUuid } from "uuid";
import { COLUMN_LENGTHS } from "../../../db/column-lengths.ts";
import { cancelRequest, holdRequest } from "../../../src/api/schemas.ts";
import type { FailureGroups } from "../../../src/engine/failure-groups.ts";
import type { Operations } from "../../../src/engine/operations.ts";
import { WebhookError, type WebhookEndpoints } from "../../../src/events/webhooks/endpoints.ts";
import { NotAmendableError } from "../../../src/order/amendment.ts";
import { CANCELLED, lifecycle } from "../../../src/order/lifecycle.ts";
import { UsageError } from "../../../src/platform/startup.ts";
import { messageOf, shown } from "../../shared/text.ts";

export const USAGE = `usage: npm run orders -- COMMAND [--as NAME]

  cancel ORDER --reason TEXT               cancels an order, unless it is too late
  retry ORDER                              resumes a failed order, or runs its next attempt now, or asks now
                                           whether what it waits for has happened
  hold ORDER --name NAME --reason TEXT      holds an order: no stage begins until the last hold is released
  release ORDER --name NAME                releases a hold
  resume [--stage STAGE] [--reason TEXT]   resumes failed orders: all, or of a stage, or of a reason
  pause STAGE                              pauses a stage on all workers
  unpause STAGE                            resumes it
  limit STAGE --concurrency N              limits a stage's jobs at once over all workers; none for no limit
  limit STAGE --rate N/SECONDS             limits its rate; none for the stage's own limit
  resend DELIVERY                          sends a webhook delivery again

--as NAME is recorded with the action; without it, your login name is.
`;

/** The use cases that a command may call. */
export interface Actions {
  readonly operations: Operations;
  readonly failureGroups: FailureGroups;
  readonly webhooks: WebhookEndpoints;
}

/** @returns the result in words. @throws {UsageError} if it can't be done. */
export type Command = (actions: Actions) => Promise<string>;

/** A command line's parts. Each is checked by the command that needs it. */
interface Given {
  /** An order, a stage or a delivery. */
  readonly target: string | undefined;
  readonly reason?: string;
  readonly name?: string;
  readonly stage?: string;
  readonly concurrency?: string;
  readonly rate?: string;
  readonly actor: string;
}

/** @throws {UsageError} for what cannot be done */
async function amended<Order>(order: Promise<Order>): Promise<Order> {
  return order.catch((error: unknown) => {
    throw error instanceof NotAmendableError ? new UsageError(error.message) : error;
  });
}

const MOST = 100_000;
const MOST_SECONDS = 86_400;

const COMMANDS: Readonly<Record<string, (given: Given) => Command>> = {
  cancel({ target, reason = "", actor }) {
    const id = orderIn(target);
    if (!cancelRequest.safeParse({ reason }).success)
      throw new UsageError("cancel needs --reason TEXT, on one line");
    return async ({ operations }) => {
      const cancelled = await operations.cancel(id, reason, actor);
      if (cancelled === undefined) throw new UsageError(`there is no order ${id}`);
      const { accepted, order } = cancelled;
      if (!accepted) throw new UsageError(`order ${id} is ${order.status}, and can no longer be cancelled`);
      return order.status === CANCELLED ? `order ${id} is CANCELLED` : `order ${id} will be CANCELLED`;
    };
  },

  retry({ target, actor }) {
    const id = orderIn(target);
    return async ({ operations }) => {
      const retried = await operations.retry(id, actor);
      if (retried === undefined) throw new UsageError(`there is no order ${id}`);
      if (!retried) throw new UsageError(`order ${id} has not failed, and waits for nothing`);
      return `order ${id} goes on`;
    };
  },

  hold({ target, name = "", reason = "", actor }) {
    const id = orderIn(target);
    if (!holdRequest.safeParse({ name, reason }).success)
      throw new UsageError("hold needs --name NAME and --reason TEXT, each on one line");
    return async ({ operations }) => {
      const order = await amended(operations.hold(id, { name, reason }, actor));
      if (order === undefined) throw new UsageError(`there is no order ${id}`);
      return `order ${id} is held: ${order.holds.map((hold) => hold.name).join(", ")}`;
    };
  },

  release({ target, name = "", actor }) {
    const id = orderIn(target);
    if (name === "") throw new UsageError("release needs --name NAME");
    return async ({ operations }) => {
      const order = await amended(operations.release(id, name, actor));
      if (order === undefined) throw new UsageError(`there is no order ${id}`);
      const held = order.holds.map((hold) => hold.name).join(", ");
      return held === "" ? `order ${id} goes on` : `order ${id} is still held: ${held}`;
    };
  },

  resume({ target, stage, reason, actor }) {
    if (target !== undefined) throw new UsageError("resume takes no order: use retry for one");
    const group = { stage: stage === undefined ? undefined : stageIn(stage), reason };
    return async ({ failureGroups }) => {
      const { resumed } = await failureGroups.resume(group, actor, Infinity);
      return `resumed ${resumed} order${resumed === 1 ? "" : "s"}`;
    };
  },

  pause({ target, actor }) {
    const stage = stageIn(target);
    return async ({ operations }) => {
      await operations.pause(stage, actor);
      return `${stage} is paused`;
    };
  },

  unpause({ target, actor }) {
    const stage = stageIn(target);
    return async ({ operations }) => {
      await operations.unpause(stage, actor);
      return `${stage} is no longer paused`;
    };
  },

  limit({ target, concurrency, rate, actor }) {
    const stage = stageIn(target);
    if (concurrency === undefined && rate === undefined)
      throw new UsageError("limit needs --concurrency N or --rate N/SECONDS");
    const jobs = concurrency === undefined ? undefined : limitIn(concurrency);
    const perTime = rate === undefined ? undefined : rateIn(rate);
    return async ({ operations }) => {
      if (jobs !== undefined) await operations.limitConcurrency(stage, jobs, actor);
      if (perTime !== undefined) await operations.limitRate(stage, perTime, actor);
      const limits = [concurrency && `concurrency ${concurrency}`, rate && `rate ${rate}`];
      return `${stage}: ${limits.filter(Boolean).join(", ")}`;
    };
  },

  resend({ target = "", actor }) {
    if (!/^\d{1,15}$/.test(target)) throw new UsageError("resend needs the number of a delivery");
    return async ({ webhooks }) => {
      const { id } = await webhooks.resend(Number(target), actor).catch((error: unknown) => {
        throw error instanceof WebhookError ? new UsageError(`${error.message} ${target}`) : error;
      });
      return `delivery ${id} is sent again`;
    };
  },
};

/** @param login the actor, unless `--as` names one. @throws {UsageError} in one line. */
export function parseOrdersCommand(args: readonly string[], login: string): Command | "help" {
  const { values, positionals } = parse(args);
  const [name, target, ...rest] = positionals;
  if (values.help === true || name === "help") return "help";
  const command = name !== undefined && Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
  if (command === undefined) {
    const problem = name === undefined ? "a command is missing" : `there is no command ${shown(name)}`;
    throw new UsageError(`${problem}: use ${Object.keys(COMMANDS).join(", ")}; see npm run orders -- --help`);
  }
  if (rest.length > 0)
    throw new UsageError(`${name} takes only one argument, not also ${shown(rest.join(" "))}`);
  const actor = Array.from(values.as?.trim() || login)
    .slice(0, COLUMN_LENGTHS.actor)
    .join("");
  return command({ ...values, target, actor });
}

function parse(args: readonly string[]) {
  const text = { type: "string" } as const;
  try {
    return parseArgs({
      args: [...args],
      allowPositionals: true,
      options: {
        reason: text,
        name: text,
        stage: text,
        concurrency: text,
        rate: text,
        as: text,
        help: { type: "boolean" },
      },
    });
  } catch (error) {
    throw new UsageError(`${messageOf(error).split(/\.\s/)[0]}; see npm run orders -- --help`);
  }
}

function orderIn(text: string | undefined): string {
  if (!isUuid(text)) throw new UsageError(`${shown(text ?? "")} is no order's id`);
  return String(text).toLowerCase();
}

function stageIn(text: string | undefined): string {
  const names = lifecycle.steps.map(({ name }) => name);
  if (text === undefined || !names.includes(text))
    throw new UsageError(`no stage is named ${shown(text ?? "")}: there are ${names.join(", ")}`);
  return text;
}

/** @returns null for no limit. */
function limitIn(text: string): number | null {
  if (text === "none") return null;
  const limit = /^\d{1,6}$/.test(text) ? Number(text) : 0;
  if (limit < 1 || limit > MOST)
    throw new UsageError(
      `--concurrency must be a whole number from 1 to ${MOST}, or none, not ${shown(text)}`,
    );
  return limit;
}

/** @returns null for no limit. */
function rateIn(text: string): { readonly max: number; readonly durationMs: number } | null {
  if (text === "none") return null;
  const [, max, seconds] = /^(\d{1,6})\/(\d{1,5})$/.exec(text)?.map(Number) ?? [];
  if (!max || !seconds || max > MOST || seconds > MOST_SECONDS)
    throw new UsageError(`--rate must be JOBS/SECONDS, such as 100/60, or none, not ${shown(text)}`);
  return { max, durationMs: seconds * 1_000 };
}
