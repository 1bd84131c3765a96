import { isUtf8 } from "node:buffer";
import { json, type Request, type RequestHandler } from "express";
import type { z } from "zod";
import { API_LIMITS } from "./limits.ts";
import { Problem } from "./problem.ts";

/** The media types that count as JSON. */
const JSON_TYPES = ["application/json", "application/*+json"];

/** Reads JSON bodies of a limited size. What the JSON must look like is for {@link parseBody} to say. */
export const readJson: RequestHandler = json({
  limit: API_LIMITS.bodyBytes,
  type: JSON_TYPES,
  strict: false,
  verify(_request, _response, body, encoding) {
    // Decoding would put replacement characters in the place of what is no text.
    if (encoding === "utf-8" && !isUtf8(body))
      throw new Problem(400, "malformed-request", { detail: "the body is not UTF-8" });
  },
});

/** The request's JSON body in the shape of the schema. @throws {Problem} 400, 415 or 422, with every fault by path. */
export function parseBody<Schema extends z.ZodType>(schema: Schema, request: Request): z.output<Schema> {
  if (request.body === undefined) {
    const detail = "send a JSON body with Content-Type: application/json";
    if (request.is(JSON_TYPES) === false) throw new Problem(415, "unsupported-media-type", { detail });
    throw new Problem(400, "malformed-request", { detail });
  }
  return parse(schema, request.body, 422);
}

/** What a form has sent, in the shape of the schema. @throws {Problem} 422, with every fault by field. */
export function parseForm<Schema extends z.ZodType>(schema: Schema, request: Request): z.output<Schema> {
  return parse(schema, request.body ?? {}, 422);
}

/** What stands in the query, the path or the headers, in the shape of the schema. @throws {Problem} 400, with every fault by path. */
export function parseParameters<Schema extends z.ZodType>(schema: Schema, input: unknown): z.output<Schema> {
  return parse(schema, input, 400);
}

function parse<Schema extends z.ZodType>(
  schema: Schema,
  input: unknown,
  status: 400 | 422,
): z.output<Schema> {
  const parsed = schema.safeParse(input, {
    error: (issue) => (issue.input === undefined ? "is missing" : undefined),
  });
  if (parsed.success) return parsed.data;
  throw new Problem(status, "invalid-input", { errors: parsed.error.issues.flatMap(faults) });
}

type Fault = { path: string; message: string };

/** One fault a place: an unknown field is a fault of its own, at its own path. */
function faults(issue: z.core.$ZodIssue): Fault[] {
  if (issue.code === "unrecognized_keys") {
    return issue.keys.map((key) => ({
      path: pathText([...issue.path, key]),
      message: "is not a field of this request",
    }));
  }
  return [{ path: pathText(issue.path), message: issue.message }];
}

/** `lines[0].quantity`; names that are not made of letters, digits, underscores and dashes stand in brackets: `["a.b"]`. */
function pathText(path: readonly PropertyKey[]): string {
  return path.reduce<string>((text, key) => {
    if (typeof key === "number") return `${text}[${key}]`;
    const name = String(key);
    if (!/^[\w-]+$/.test(name)) return `${text}[${JSON.stringify(name)}]`;
    return text === "" ? name : `${text}.${name}`;
  }, "");
}
