import { Snooze, Wait, type Outcome } from "../order/stage.ts";

/** Bytes of a record as JSON: far more than any needs, and far less than a row takes. */
const LARGEST_RECORD = 64 * 1024;

/**
 * Checks what a stage has left, before anything is done with it: providers and stages of others may return anything, and
 * what MySQL can't store would fail long after a card was charged.
 *
 * @throws {Error} that names what is wrong, and quotes nothing
 */
export function checkOutcome<T extends Outcome | undefined>(outcome: T, stage: string): T {
  const fault = faultOf(outcome);
  if (fault !== undefined) throw new Error(`stage ${stage} returned what can't be stored: ${fault}`);
  return outcome;
}

function faultOf(outcome: Outcome | undefined): string | undefined {
  if (outcome instanceof Snooze) return outcome.milliseconds >= 0 ? undefined : "a snooze that is no time";
  if (outcome instanceof Wait) {
    if (outcome.until !== null && Number.isNaN(outcome.until.getTime())) return "a wait until no time";
    return outcome.for.isWellFormed() ? undefined : "a wait for a text with half a character";
  }
  return faultOfRecord(outcome ?? {});
}

function faultOfRecord(record: object): string | undefined {
  let fault: string | undefined;
  const text = JSON.stringify(record, (name, value: unknown) => {
    if (!name.isWellFormed()) fault ??= "a name with half a character";
    if (typeof value === "string" && !value.isWellFormed()) fault ??= `half a character in ${name}`;
    if (typeof value === "number" && !Number.isFinite(value)) fault ??= `${name} is no finite number`;
    return value;
  });
  return (
    fault ?? (Buffer.byteLength(text) > LARGEST_RECORD ? `more than ${LARGEST_RECORD} bytes` : undefined)
  );
}
