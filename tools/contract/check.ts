import { isDeepStrictEqual } from "node:util";
import type { Answer } from "./answers.ts";
import type { Target } from "./requests.ts";
import type { Role } from "./roles.ts";

/** A check: resolves to what is wrong, or to why it can't be made. */
export interface Check {
  readonly name: string;
  readonly needs?: "secret" | "undo";
  /** The roles that it is for; all, unless given. */
  readonly of?: readonly Role["name"][];
  /** Makes no sense where a plain run fails. */
  readonly afterRun?: true;
  run(target: Target): Promise<string | Skipped | undefined>;
}

/** Why a check can't be made. */
export class Skipped {
  readonly why: string;
  constructor(why: string) {
    this.why = why;
  }
}

/** What is wrong with the answer to a run that must be done. */
export function whyWrong(answer: Answer): string | undefined {
  if (answer.is === "undone") return "answered 410 to a run that was not undone";
  return answer.is === "wrong" ? answer.why : undefined;
}

export function differs(one: Answer, other: Answer): boolean {
  return !isDeepStrictEqual(one, other);
}

/** Whether the work is done: not rejected, and not put off. */
export function isDone(answer: Answer): boolean {
  return answer.is === "final" && Object.hasOwn(Object(answer.value), "done");
}

/** Whether the answer is a business "no". */
export function isRejected(answer: Answer): boolean {
  return Object.hasOwn(Object(valueOf(answer)), "reject");
}

/** The answer's body, unless it is wrong. */
export function valueOf(answer: Answer): unknown {
  return answer.is === "wrong" ? undefined : answer.value;
}

/** An answer in words. */
export function spoken(answer: Answer): string {
  return answer.is === "wrong" || answer.value === undefined ? answer.is : JSON.stringify(answer.value);
}
