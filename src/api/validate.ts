import { isUtf8 } from "node:buffer";
import { json, type Request, type RequestHandler } from "express";
import type { z } from "zod";
import { API_LIMITS } from "./limits.ts";
import { repeatedNames } from "../platform/json.ts";
import { Problem } from "./problem.ts";

/** Media types that count as JSON. */
const JSON_TYPES = ["application/json", "application/*+json"];

/** Reads JSON bodies up to a size limit. {@link parseBody} validates them. */
export const readJson: RequestHandler = json({
  limit: API_LIMITS.bodyBytes,
  type: JSON_TYPES,
  strict: false,
  verify(request, response, body, charset) {
    onlyUtf8(request, response, body, charset);
    const [name] = repeatedNames(body.toString("utf8"));
    if (name === undefined) return;
    const detail = `${JSON.stringify(cut(name))} stands twice in the body`;
    throw new Problem(400, "malformed-request", { detail });
  },
});

export const SEND_UTF8 = "send the body as UTF-8";

/** For body parsers, which would decode UTF-7, UTF-16 and UTF-32 too, and insert replacement characters. @throws {Problem} */
export function onlyUtf8(_request: unknown, _response: unknown, body: Buffer, charset: string): void {
  if (charset !== "utf-8") throw new Problem(415, "unsupported-media-type", { detail: SEND_UTF8 });
  if (!isUtf8(body)) throw new Problem(400, "malformed-request", { detail: "the body is not UTF-8" });
}

/** Validates the JSON body. @throws {Problem} 400, 415 or 422, listing every fault by path. */
export function parseBody<Schema extends z.ZodType>(schema: Schema, request: Request): z.output<Schema> {
  if (request.body === undefined) {
    const detail = "send a JSON body with Content-Type: application/json";
    if (request.is(JSON_TYPES) === false) throw new Problem(415, "unsupported-media-type", { detail });
    throw new Problem(400, "malformed-request", { detail });
  }
  return parse(schema, request.body, 422);
}

/** Validates a form. @throws {Problem} 422, listing every fault by field. */
export function parseForm<Schema extends z.ZodType>(
  schema: Schema,
  request: { readonly body?: unknown },
): z.output<Schema> {
  return parse(schema, request.body ?? {}, 422);
}

/** Validates a query, path parameters or headers. @throws {Problem} 400, listing every fault by path. */
export function parseParameters<Schema extends z.ZodType>(schema: Schema, input: unknown): z.output<Schema> {
  return parse(schema, input, 400);
}

/** Calls what is not there missing, instead of a value of the wrong type. */
const WITH_MISSING: z.core.ParseContext<z.core.$ZodIssue> = {
  error: (issue) => (issue.input === undefined ? "is missing" : undefined),
};

function parse<Schema extends z.ZodType>(
  schema: Schema,
  input: unknown,
  status: 400 | 422,
): z.output<Schema> {
  const parsed = schema.safeParse(input, WITH_MISSING);
  if (parsed.success) return parsed.data;
  throw new Problem(status, "invalid-input", toldFaults(parsed.error.issues));
}

/** Faults told at most: nobody reads thousands, and telling them takes time from others. */
const MOST_FAULTS = 100;
/** Characters of a field's name that are told. */
const LONGEST_NAME = 100;

function toldFaults(issues: readonly z.core.$ZodIssue[]): {
  readonly errors: Fault[];
  readonly detail?: string;
} {
  const errors: Fault[] = [];
  for (const issue of issues) {
    if (errors.length >= MOST_FAULTS) break;
    errors.push(...faults(issue, MOST_FAULTS - errors.length));
  }
  const all = issues.reduce(
    (sum, issue) => sum + (issue.code === "unrecognized_keys" ? issue.keys.length : 1),
    0,
  );
  return { errors, ...(all > errors.length && { detail: `the first ${errors.length} of ${all} faults` }) };
}

type Fault = { path: string; message: string };

/** One fault per path: each unknown field is a fault of its own. */
function faults(issue: z.core.$ZodIssue, most: number): Fault[] {
  if (issue.code === "unrecognized_keys") {
    return issue.keys.slice(0, most).map((key) => ({
      path: pathText([...issue.path, key]),
      message: "is not a field of this request",
    }));
  }
  const message = issue.code === "invalid_key" ? nameFault(issue) : issue.message;
  return [{ path: pathText(issue.path), message }];
}

/** What is wrong with the name of a field that has a name of its own. */
function nameFault({ issues, message }: z.core.$ZodIssueInvalidKey): string {
  return `its name ${issues[0]?.message.replace(/^Too (small|big): expected string to have/, "must have") ?? message}`;
}

/**
 * A path such as `lines[0].quantity`. Names with other characters than letters, digits, `_` and `-` are quoted:
 * `["a.b"]`.
 */
function pathText(path: readonly PropertyKey[]): string {
  return path.reduce<string>((text, key) => {
    if (typeof key === "number") return `${text}[${key}]`;
    const name = cut(String(key));
    if (!/^[\w-]+$/.test(name)) return `${text}[${JSON.stringify(name)}]`;
    return text === "" ? name : `${text}.${name}`;
  }, "");
}

function cut(name: string): string {
  return name.length > LONGEST_NAME ? `${name.slice(0, LONGEST_NAME).toWellFormed()}…` : name;
}
