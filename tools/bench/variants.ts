import { VARIABLES } from "../../src/composition/config.ts";

/** What is compared, as tables and plots name it. */
export const NAMES = {
  conveyor: "Conveyor",
  express: "bare Express",
  bullmq: "bare BullMQ",
  oneTransaction: "one transaction each",
  sync: "synchronous",
  syncGrouped: "synchronous, group commit",
} as const;

/** Another way for the service to work. */
export interface Mode {
  readonly name: string;
  readonly env: Readonly<Record<string, string>>;
}

/** One transaction a request and a job, instead of group commit. */
export const ONE_TRANSACTION: Mode = { name: NAMES.oneTransaction, env: { GROUP_COMMIT: "off" } };
/** A shop without a queue: the API runs the stages while the client waits. */
export const SYNC: Mode = { name: NAMES.sync, env: { PROCESSING: "sync", GROUP_COMMIT: "off" } };
export const SYNC_GROUPED: Mode = {
  name: NAMES.syncGrouped,
  env: { PROCESSING: "sync", GROUP_COMMIT: "on" },
};

/** Of these modes, those that the service has. */
export function known(modes: readonly Mode[]): Mode[] {
  return modes.filter(({ env }) => missing(env).length === 0);
}

/** A line for each mode that the service does not have. */
export function leftOut(modes: readonly Mode[]): string[] {
  return modes.flatMap(({ name, env }) => {
    const unknown = missing(env);
    return unknown.length === 0 ? [] : [`${name}: this service has no ${unknown.join(" and no ")}`];
  });
}

function missing(env: Readonly<Record<string, string>>): string[] {
  return Object.keys(env).filter((variable) => !(variable in VARIABLES));
}
