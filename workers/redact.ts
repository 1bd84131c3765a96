import type { Order } from "../src/order/order.ts";

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
  const copy = new Error(blot(error.message));
  copy.name = error.name;
  copy.stack = blot(error.stack ?? copy.message);
  return copy;
}
