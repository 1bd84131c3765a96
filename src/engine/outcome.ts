import { LIMITS } from "../order/limits.ts";
import type { StageRecord } from "../order/order.ts";
import { Done, Rejection, Snooze, Wait, type Outcome } from "../order/stage.ts";

/** Bytes of a record as JSON: far more than any needs, and far less than a row takes. */
const LARGEST_RECORD = 64 * 1024;
/** The last moment that MySQL can store. */
const LATEST = Date.UTC(9_999, 11, 31);

/*
 * Checks what a stage has left, before anything is done with it: stages of others may return anything, and what MySQL or
 * Redis can't store would fail long after a card was charged. What providers answer is checked before, in
 * src/providers/checked.ts. Nothing of it is quoted.
 */

/** @throws {Error} that names what is wrong with what `run` returned */
export function checkOutcome(outcome: Outcome, stage: string): Outcome {
  refuse(faultOf(outcome), stage);
  return outcome;
}

/** @throws {Error} that names what is wrong with what `undo` returned */
export function checkUndone(record: StageRecord | undefined, stage: string): StageRecord | undefined {
  if (record !== undefined) refuse(faultOfRecord(record), stage);
  return record;
}

function refuse(fault: string | undefined, stage: string): void {
  if (fault !== undefined) throw new Error(`stage ${stage} returned what can't be stored: ${fault}`);
}

function faultOf(outcome: Outcome): string | undefined {
  if (outcome instanceof Snooze) return faultOfSnooze(outcome);
  if (outcome instanceof Wait) return faultOfWait(outcome);
  if (outcome instanceof Rejection) return faultOfText(outcome.reason, "a rejection without a reason");
  return faultOfRecord(outcome instanceof Done ? outcome.record : outcome);
}

function faultOfSnooze({ milliseconds }: { readonly milliseconds: unknown }): string | undefined {
  if (typeof milliseconds !== "number" || !(milliseconds >= 0)) return "a snooze that is no time";
  return milliseconds <= LIMITS.snoozeMs ? undefined : "a snooze of more than a year";
}

function faultOfWait({ for: what, until }: { readonly for: unknown; readonly until: unknown }) {
  if (until !== null && !(until instanceof Date && until.getTime() < LATEST)) return "a wait until no time";
  if (typeof what !== "string") return "a wait for nothing";
  if (!what.isWellFormed()) return "a wait for a text with half a character";
  const fault = faultOfText(what, "a wait for nothing");
  if (fault !== undefined) return fault;
  return Array.from(what).length <= LIMITS.reason
    ? undefined
    : `a wait for a text of more than ${LIMITS.reason} characters`;
}

function faultOfText(text: unknown, fault: string): string | undefined {
  return typeof text === "string" && /[^\s\p{C}]/u.test(text) ? undefined : fault;
}

function faultOfRecord(record: unknown): string | undefined {
  if (typeof record !== "object" || record === null || Array.isArray(record) || "toJSON" in record)
    return "something else than a record";
  for (const [name, value] of Object.entries(record)) {
    const fault = name.isWellFormed() ? faultOfValue(name, value) : "a name with half a character";
    if (fault !== undefined) return fault;
  }
  const isLarge = Buffer.byteLength(JSON.stringify(record)) > LARGEST_RECORD;
  return isLarge ? `more than ${LARGEST_RECORD} bytes` : undefined;
}

function faultOfValue(field: string, value: unknown): string | undefined {
  const name = field.slice(0, LIMITS.identifier).toWellFormed();
  if (typeof value === "string") return value.isWellFormed() ? undefined : `half a character in ${name}`;
  if (typeof value === "number") return Number.isFinite(value) ? undefined : `${name} is no finite number`;
  // JSON leaves out what is undefined.
  const isKept = value === null || typeof value === "boolean" || value === undefined;
  return isKept ? undefined : `${name} is no text, number, boolean or null`;
}
