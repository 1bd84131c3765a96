import { z } from "zod";
import { LIMITS } from "../../order/limits.ts";
import { rejected, snoozed } from "./service-client.ts";

/* What the service of an HTTP stage may answer, at once or by callback: docs/http-stages.md. */

/** Most fields of a record, and characters of a name and a value in it. */
const RECORD_FIELDS = 50;
const FIELD_NAME = 64;
const FIELD_VALUE = 500;

/** MySQL stores no halves of surrogate pairs. */
const wellFormed = (text: string) => text.toWellFormed();
const record = z
  .record(
    z.string().min(1).max(FIELD_NAME).transform(wellFormed),
    z.union(
      [
        z.string().max(FIELD_VALUE).transform(wellFormed), //
        z.number(),
        z.boolean(),
        z.null(),
      ],
      { error: `must be a text of at most ${FIELD_VALUE} characters, a number, a boolean or null` },
    ),
  )
  .refine((given) => Object.keys(given).length <= RECORD_FIELDS, {
    error: `must have at most ${RECORD_FIELDS} fields`,
  });

const done = z.strictObject({ done: record });
const waits = z.strictObject({
  wait: z.strictObject({
    for: z
      .string()
      .max(LIMITS.reason)
      .regex(/[^\s\p{C}]/u, { error: "must say what it waits for" }),
    until: z.iso.datetime({ offset: true, error: "must be a time in ISO 8601 with its zone" }),
  }),
});

/** The body of a 200 to `run`, and of a callback. */
export const runAnswer = z.union([done, rejected, snoozed, waits], {
  error: "must have exactly one of done, reject, snooze and wait, and nothing else",
});
export type RunAnswer = z.output<typeof runAnswer>;

/** The body of a 200 to `undo`. */
export const undoAnswer = done;

/** The parts of a {@link runAnswer}, of which a body has one. */
export const ANSWER_PARTS = {
  ...done.shape,
  ...rejected.shape,
  ...snoozed.shape,
  ...waits.shape,
};

/** Whether it decides: nothing is asked of the service after it. */
export function isFinal(answer: RunAnswer): boolean {
  return "done" in answer || "reject" in answer;
}
