import type { Order } from "../order/order.ts";

/** Shorter values are not secrets, and would redact parts of unrelated words. */
const SHORTEST_SECRET = 4;

/**
 * Makes an error safe to store and log. Returns a copy with the order's payment token and address redacted, or the
 * error itself if it contains neither.
 */
export function withoutSecrets(error: unknown, order: Pick<Order, "paymentToken" | "shipTo">): unknown {
  if (!(error instanceof Error)) return error;
  const secrets = [order.paymentToken, ...Object.values(order.shipTo ?? {})].filter(
    (value): value is string => typeof value === "string" && value.length >= SHORTEST_SECRET,
  );
  const told = `${error.message}\n${error.stack ?? ""}`;
  if (!secrets.some((secret) => told.includes(secret))) return error;
  const blot = (text: string) =>
    secrets.reduce((rest, secret) => rest.replaceAll(secret, "[redacted]"), text);
  // Keep the class and fields, which decide what happens to the job; drop the cause, which may repeat the secret.
  const { cause: _cause, ...fields } = Object.getOwnPropertyDescriptors(error);
  const copy: Error = Object.create(Object.getPrototypeOf(error), fields);
  Object.defineProperty(copy, "message", { value: blot(error.message), configurable: true, writable: true });
  Object.defineProperty(copy, "stack", {
    value: blot(error.stack ?? copy.message),
    configurable: true,
    writable: true,
  });
  return copy;
}
