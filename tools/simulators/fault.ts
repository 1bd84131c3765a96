import { z } from "zod";

const share = z.number().min(0).max(1);
/** The maximum latency of a provider that is slow. */
export const SLOWEST_MS = 60_000;

/** How a provider misbehaves. A call gets the fault that is set when it has arrived. */
export const fault = z.discriminatedUnion("kind", [
  z.object({ kind: z.literal("none") }),
  /** Answers 503 to everything, pings too. */
  z.object({ kind: z.literal("down") }),
  /** Destroys every connection, open ones too. */
  z.object({ kind: z.literal("refuse") }),
  /** Does and answers nothing, pings neither, until the next fault is set: a process that hangs. */
  z.object({ kind: z.literal("hangs") }),
  /** Does the work and answers correctly, but only after `ms`, even if the caller has given up. */
  z.object({ kind: z.literal("slow"), ms: z.number().nonnegative() }),
  /** Answers this share (0 to 1) of the calls with 500 and does nothing; pings are answered. */
  z.object({ kind: z.literal("errors"), rate: share }),
  /** Does the work at once but answers after `ms`, when the caller has given up. */
  z.object({ kind: z.literal("late"), ms: z.number().nonnegative() }),
  /** Does the work, then destroys the connection of this share of the calls; pings are answered. */
  z.object({ kind: z.literal("lost-reply"), rate: share }),
  /**
   * Never answers calls for this share (0 to 1) of the orders, always the same ones, or answers 500; pings
   * are answered.
   */
  z.object({ kind: z.literal("poisoned"), share, treatment: z.enum(["hangs", "fails"]) }),
]);
export type Fault = z.output<typeof fault>;
