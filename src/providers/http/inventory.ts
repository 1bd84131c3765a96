import { z } from "zod";
import type { Inventory } from "../../order/ports.ts";
import { rejected, ServiceClient, type ServiceAddress } from "./service-client.ts";

/** The answers to `reserve` and `ship`, and to `release`. */
export const released = z.strictObject({ done: z.object({}) });
export const moved = z.union([released, rejected]);

/** Client for an inventory service that implements docs/providers.md. */
export function httpInventory(address: ServiceAddress): Inventory {
  const client = new ServiceClient("inventory", address);
  return {
    ping: (signal) => client.ping(signal),

    async move(operation, { key, orderId, lines, signal }) {
      if (lines.length === 0) return "moved";
      const answer = await client.run({ id: key, body: { operation, orderId, lines }, signal }, moved);
      return "reject" in answer ? answer : "moved";
    },

    async release({ key, orderId, lines, signal }) {
      await client.undo({ id: key, body: { operation: "release", orderId, lines }, signal }, released);
    },
  };
}
