import type { Order } from "../order/order.ts";

/** Shorter values are no secrets, and would blot out parts of unrelated words. */
const SHORTEST_SECRET = 4;

/**
 * An error that can be kept in a job, a row and a log: when a stage, a port or a provider has put the order's payment
 * token or part of its address into the text, a copy without them; else the error itself.
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
  // Its class and its fields say what becomes of the job; its cause might tell what was blotted out.
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
