import { VARIABLES } from "../../src/composition/config.ts";

/** The compared systems, as named in tables and plots. */
export const NAMES = {
  conveyor: "Conveyor",
  express: "bare Express",
  bullmq: "bare BullMQ",
  oneTransaction: "one transaction each",
  sync: "synchronous",
  syncGrouped: "synchronous, group commit",
} as const;

/** An alternative configuration of the service. */
export interface Mode {
  readonly name: string;
  readonly env: Readonly<Record<string, string>>;
}

/** One transaction per request and job, instead of group commit. */
export const ONE_TRANSACTION: Mode = { name: NAMES.oneTransaction, env: { GROUP_COMMIT: "off" } };
/** No queue: the API runs the stages while the client waits. */
export const SYNC: Mode = { name: NAMES.sync, env: { PROCESSING: "sync", GROUP_COMMIT: "off" } };
export const SYNC_GROUPED: Mode = {
  name: NAMES.syncGrouped,
  env: { PROCESSING: "sync", GROUP_COMMIT: "on" },
};

/** The modes that this version of the service supports. */
export function known(modes: readonly Mode[]): Mode[] {
  return modes.filter(({ env }) => missing(env).length === 0);
}

/** A line for each mode that this version does not support. */
export function leftOut(modes: readonly Mode[]): string[] {
  return modes.flatMap(({ name, env }) => {
    const unknown = missing(env);
    return unknown.length === 0 ? [] : [`${name}: not supported by this version: ${unknown.join(", ")}`];
  });
}

function missing(env: Readonly<Record<string, string>>): string[] {
  return Object.keys(env).filter((variable) => !(variable in VARIABLES));
}
