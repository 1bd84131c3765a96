import type { z } from "zod";
import { runAnswer } from "../../src/providers/http/answers.ts";
import { mismatch } from "../../src/providers/http/mismatch.ts";
import { LARGEST_ANSWER, type Response, type Target } from "./requests.ts";

/** Characters of an answer to quote. */
const EXCERPT = 120;

/** What a response comes to. */
export type Answer =
  /** As the contract says. */
  | { readonly is: "final" | "later" | "undone"; readonly value: unknown }
  /** Not as the contract says. */
  | { readonly is: "wrong"; readonly why: string };

/** Reads a response to a run. */
export function readRun(response: Response, target: Target): Answer {
  return readWith(target.role.runAnswer, response, target);
}

/** Reads a response whose body is to be like this. */
export function readWith(body: z.ZodType, response: Response, target: Target): Answer {
  const { status, text } = response;
  const fault = faultOf(response, target);
  if (fault !== undefined) return { is: "wrong", why: fault };
  if (status === 410) return { is: "undone", value: undefined };
  if (isLater(response, target)) return { is: "later", value: undefined };
  if (status === 401 || status === 403)
    return { is: "wrong", why: `answered ${status} to a request with the right signature` };
  if (status !== 200)
    return {
      is: "wrong",
      why: `answered ${status}. What was done is answered with 200; a business "no" is 200 {"reject": "why"}`,
    };
  const parsed = body.safeParse(json(text));
  if (!parsed.success) return { is: "wrong", why: faultOfBody(text, parsed.error) };
  const isFinal = !["snooze", "wait"].some((part) => Object.keys(Object(parsed.data)).includes(part));
  return { is: isFinal ? "final" : "later", value: parsed.data };
}

/** @returns what is wrong with the body of a callback, if anything. */
export function faultOfCallback(text: string): string | undefined {
  const { error } = runAnswer.safeParse(json(text));
  return error && faultOfBody(text, error);
}

/** Reads a response to an undo. */
export function readUndo(response: Response, target: Target, body = target.role.undoAnswer): Answer {
  const { status, text } = response;
  const fault = faultOf(response, target);
  if (fault !== undefined) return { is: "wrong", why: fault };
  if (isLater(response, target)) return { is: "later", value: undefined };
  if (status === 204 || status === 410 || (status === 200 && text === ""))
    return { is: "final", value: undefined };
  if (status !== 200) return { is: "wrong", why: `answered ${status} to an undo, instead of 200 or 204` };
  const parsed = body.safeParse(json(text));
  if (!parsed.success) return { is: "wrong", why: faultOfBody(text, parsed.error) };
  return { is: "final", value: parsed.data };
}

/** Only a stage's result may come by callback. */
function isLater({ status }: Response, { role }: Target): boolean {
  return (status === 202 && role.name === "stage") || status === 429 || status === 503;
}

/** A response in words. */
export function inWords({ status, text, error }: Response): string {
  if (status === undefined) return error ?? "no answer";
  return text === "" ? String(status) : `${status} ${excerpt(text)}`;
}

function faultOf({ status, error, isTooLarge, milliseconds }: Response, { timeoutMs }: Target) {
  if (status === undefined) return `${error ?? "no answer"} after ${milliseconds} ms`;
  if (isTooLarge) return `answered with more than ${LARGEST_ANSWER} bytes, which is more than is read`;
  if (milliseconds > timeoutMs)
    return `took ${milliseconds} ms, and conveyor-timeout-ms said ${timeoutMs}: the answer comes too late, and the request is repeated`;
  return undefined;
}

function faultOfBody(text: string, error: z.ZodError): string {
  const quoted = `sent ${excerpt(text)}`;
  return json(text) === undefined ? `${quoted}, which is not JSON` : `${quoted}: ${mismatch(error)}`;
}

function json(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function excerpt(text: string): string {
  const line = text.replaceAll(/[\s\p{C}]+/gu, " ").trim();
  return line.length <= EXCERPT ? line : `${line.slice(0, EXCERPT)}…`;
}
