import { runAnswer, undoAnswer } from "../../src/providers/http/answers.ts";
import { LARGEST_ANSWER, type Response, type Target } from "./requests.ts";

/** Characters of an answer to quote. */
const EXCERPT = 120;

/** What a response comes to. */
export type Answer =
  /** As the contract says. */
  | { readonly is: "final" | "later" | "undone"; readonly value: unknown }
  /** Not as the contract says. */
  | { readonly is: "wrong"; readonly why: string };

/** Reads a response to `run`. */
export function readRun(response: Response, target: Target): Answer {
  const { status, text } = response;
  const fault = faultOf(response, target);
  if (fault !== undefined) return { is: "wrong", why: fault };
  if (status === 410) return { is: "undone", value: undefined };
  if (status === 202 || status === 429 || status === 503) return { is: "later", value: undefined };
  if (status === 401 || status === 403)
    return { is: "wrong", why: `answered ${status} to a request with the right signature` };
  if (status !== 200)
    return {
      is: "wrong",
      why: `answered ${status}. A stage answers a run with 200; a business "no" is 200 {"reject": "why"}`,
    };
  const parsed = runAnswer.safeParse(json(text));
  if (!parsed.success) return { is: "wrong", why: faultOfBody(text, RUN_KEYS) };
  const isFinal = "done" in parsed.data || "reject" in parsed.data;
  return { is: isFinal ? "final" : "later", value: parsed.data };
}

/** @returns what is wrong with the body of a callback, if anything. */
export function faultOfCallback(text: string): string | undefined {
  return runAnswer.safeParse(json(text)).success ? undefined : faultOfBody(text, RUN_KEYS);
}

/** Reads a response to `undo`. */
export function readUndo(response: Response, target: Target): Answer {
  const { status, text } = response;
  const fault = faultOf(response, target);
  if (fault !== undefined) return { is: "wrong", why: fault };
  if (status === 202 || status === 429 || status === 503) return { is: "later", value: undefined };
  if (status === 204 || status === 410 || (status === 200 && text === ""))
    return { is: "final", value: undefined };
  if (status !== 200) return { is: "wrong", why: `answered ${status} to an undo, instead of 200 or 204` };
  const parsed = undoAnswer.safeParse(json(text));
  if (!parsed.success) return { is: "wrong", why: faultOfBody(text, ["done"]) };
  return { is: "final", value: parsed.data };
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

const RUN_KEYS = ["done", "reject", "snooze", "wait"];

function faultOfBody(text: string, keys: readonly string[]): string {
  const value = json(text);
  const quoted = `sent ${excerpt(text)}`;
  if (value === undefined) return `${quoted}, which is not JSON`;
  const given = typeof value === "object" && value !== null ? Object.keys(value) : [];
  const known = given.filter((key) => keys.includes(key));
  const names = keys.map((key) => `"${key}"`).join(", ");
  if (known.length !== 1 || given.length !== 1)
    return `${quoted}, which does not have exactly one of ${names}, and nothing else`;
  if (known[0] === "done")
    return `${quoted}, where "done" is not an object of at most 50 strings (up to 500 characters), numbers, booleans and nulls`;
  if (known[0] === "wait")
    return `${quoted}, where "wait" is not {"for": text, "until": a time in ISO 8601 with its zone}`;
  return `${quoted}, where "${known[0]}" is not ${known[0] === "reject" ? "a text" : "a number of milliseconds"}`;
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
