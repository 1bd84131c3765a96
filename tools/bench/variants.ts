/** The compared systems, as named in tables and plots. */
export const NAMES = {
  conveyor: "Conveyor",
  queued: "Conveyor, a job per stage",
  overHttp: "Conveyor, HTTP providers",
  before: "Conveyor before",
  express: "bare Express",
  bullmq: "bare BullMQ",
  oneTransaction: "one transaction each",
  sync: "synchronous",
  syncGrouped: "synchronous, group commit",
} as const;

/** A configuration of the service. */
export interface Mode {
  readonly name: string;
  readonly env: Readonly<Record<string, string>>;
}

/** As it comes: group commit, and one job that carries an order through as many stages as it can. */
export const CONVEYOR: Mode = { name: NAMES.conveyor, env: {} };
/** A job for each stage of each order. */
export const QUEUED: Mode = { name: NAMES.queued, env: { HAND_OVER: "queue" } };
/** One transaction per request and job, instead of group commit. */
export const ONE_TRANSACTION: Mode = { name: NAMES.oneTransaction, env: { GROUP_COMMIT: "off" } };
/** No queue: the API runs the stages while the client waits. */
export const SYNC: Mode = { name: NAMES.sync, env: { PROCESSING: "sync", GROUP_COMMIT: "off" } };
export const SYNC_GROUPED: Mode = {
  name: NAMES.syncGrouped,
  env: { PROCESSING: "sync", GROUP_COMMIT: "on" },
};
