/**
 * What the log of events tells of an order. Closed: whatever is added here is a further kind of message to everybody who
 * listens. All but `status` leave the order where it stands.
 */
export const EVENT_TYPES = [
  /** It has moved to another status, or was created. */
  "status",
  /** A stage was tried in vain, and will be tried again. */
  "attempt-failed",
  /** A stage was given up after its last attempt: the order rests until somebody has it go on. */
  "failed",
  /** Somebody has it go on. */
  "resumed",
  /** It is to be cancelled, for a reason: a customer's request, a stage's no, a deadline that was missed. */
  "cancel-requested",
] as const;

export type EventType = (typeof EVENT_TYPES)[number];

/** Which attempt at a step led to an event, and when that began. */
export interface AttemptMark {
  /** Counted from 1. */
  readonly attempt: number;
  readonly startedAt: Date;
}
