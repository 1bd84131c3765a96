import type { Order } from "../order/order.ts";
import { redactor } from "../platform/redact.ts";

/** Shorter values are not secrets, and would redact parts of unrelated words. */
const SHORTEST_SECRET = 4;

/** The fields of an order that may hold personal data or a secret. */
export const PRIVATE_FIELDS = [
  "paymentToken",
  "customer",
  "shipTo",
  "billTo",
  "metadata",
  "note",
] as const satisfies readonly (keyof Order)[];

type Private = Pick<Order, (typeof PRIVATE_FIELDS)[number]>;

/** Makes a text safe to store and log: every value of the order's {@link PRIVATE_FIELDS} is redacted. */
export function redacted(text: string, order: Private): string {
  return redactor(secretsOf(order))(text);
}

/**
 * Makes an error safe to store and log. Returns a copy with every value of the order's {@link PRIVATE_FIELDS} redacted,
 * or the error itself if it contains none.
 */
export function withoutSecrets(error: unknown, order: Private): unknown {
  if (!(error instanceof Error)) return error;
  const blot = redactor(secretsOf(order));
  const told = `${error.message}\n${error.stack ?? ""}`;
  if (blot(told) === told) return error;
  // Keep the class and fields, which decide what happens to the job; drop the cause, which may repeat the secret.
  const { cause: _cause, ...fields } = Object.getOwnPropertyDescriptors(error);
  const copy: Error = Object.create(Object.getPrototypeOf(error), fields);
  const message = blot(error.message);
  const stack = blot(error.stack ?? error.message);
  Object.defineProperty(copy, "message", { value: message, configurable: true, writable: true });
  Object.defineProperty(copy, "stack", { value: stack, configurable: true, writable: true });
  return copy;
}

function secretsOf(order: Private): string[] {
  return PRIVATE_FIELDS.flatMap((field) => {
    const value = order[field];
    return typeof value === "string" ? [value] : Object.values(value ?? {});
  }).filter((value): value is string => typeof value === "string" && value.length >= SHORTEST_SECRET);
}
