import { z } from "zod";
import { ORDER_FIELDS } from "../order/http-stage.ts";
import { pathOf } from "../platform/json.ts";

/* What a configuration file may say of a stage, and what a module must have that is one. */

const wholeNumber = (least: number, most: number) => {
  const error = `must be a whole number from ${least} to ${most}`;
  return z.int({ error }).min(least, { error }).max(most, { error });
};
const truth = z.boolean({ error: "must be true or false" });
const text = z.string({ error: "must be a text" });
const operation = z.custom((value) => typeof value === "function", { error: "must be a function" });
const DAY_MS = 86_400_000;
const object = <Shape extends z.ZodRawShape>(shape: Shape, unknown = "is not known there") =>
  z.strictObject(shape, {
    error: ({ code }) => (code === "unrecognized_keys" ? unknown : "must be an object"),
  });

/** The settings of a stage, whoever declares it. */
const SETTINGS = {
  concurrency: wholeNumber(1, 10_000).exactOptional(),
  attempts: wholeNumber(1, 100).exactOptional(),
  backoff: object({
    delay: wholeNumber(1, 3_600_000),
    jitter: z.number({ error: "must be a number from 0 to 1" }).min(0).max(1),
  }).exactOptional(),
  timeout: wholeNumber(10, 600_000).exactOptional(),
  rateLimit: object({ max: wholeNumber(1, 1_000_000), duration: wholeNumber(1, DAY_MS) }).exactOptional(),
  deadline: wholeNumber(1_000, 365 * DAY_MS).exactOptional(),
};

/** `http` of an entry. Names, statuses, addresses and secrets are checked with the whole pipeline. */
const httpShape = {
  name: text,
  to: text,
  url: text,
  secret: z.string({ error: 'must be a text or {"env": "NAME"}' }).exactOptional(),
  undo: truth.exactOptional(),
  pointOfNoReturn: truth.exactOptional(),
  fields: z
    .array(z.enum(ORDER_FIELDS, { error: `must be one of ${ORDER_FIELDS.join(", ")}` }), {
      error: "must be a list",
    })
    .exactOptional(),
  ...SETTINGS,
};
export const httpOptions = object(httpShape, "is not an option of an HTTP stage");

/** A stage, as a module or a configuration in TypeScript has it. */
export const stageShape = z.looseObject({
  name: text,
  to: text,
  run: operation,
  undo: operation.optional(),
  http: z.looseObject({ url: text, secret: text.optional() }, { error: "must be an object" }).optional(),
  stock: z.enum(["reserve", "ship"], { error: "must be reserve or ship" }).optional(),
  pointOfNoReturn: truth.optional(),
  settings: object(SETTINGS, "is not a setting of a stage").optional(),
});

/** What is wrong with a value by a schema, a line each. @param at where it is */
export function faultsBy(schema: z.ZodType, value: unknown, at: string): string[] {
  const issues = schema.safeParse(value).error?.issues ?? [];
  return issues.flatMap(({ path, message, ...issue }) => {
    const place = at + pathOf(path);
    return issue.code === "unrecognized_keys"
      ? issue.keys.map((key) => `${place}.${key} ${message}`)
      : [`${place} ${message}`];
  });
}
