import { setTimeout as delay } from "node:timers/promises";
import type { ChoosePorts } from "../../src/composition/providers.ts";
import { behind } from "./inventory.ts";

/**
 * A `PROVIDERS_MODULE` for measurements: a payment provider and a carrier that answer in the process itself, approve
 * everything and keep no books, so that only Conveyor's own work is measured. They take `PROVIDER_LATENCY_MS` (0). Parcels
 * arrive at once. With `INVENTORY_SIMULATOR_URL`, the inventory is that of inventory.ts.
 */
const inProcess: ChoosePorts = ({ inventory, httpStages }) => {
  const latencyMs = Number(process.env["PROVIDER_LATENCY_MS"] ?? 0);
  const reach = async (signal: AbortSignal) => {
    if (latencyMs > 0) await delay(latencyMs, undefined, { signal });
  };
  return {
    httpStages,
    inventory: behind(inventory, process.env),
    payments: {
      name: "in-process",
      keepsKeys: true,
      ping: async () => undefined,
      async authorize({ orderId, amount, signal }) {
        await reach(signal);
        return { state: "captured", id: `ch_${orderId}`, amount };
      },
      async capture({ id, amount, signal }) {
        await reach(signal);
        return { state: "captured", id, amount };
      },
      async cancel({ signal }) {
        await reach(signal);
        return { state: "cancelled" };
      },
      find: async () => undefined,
      async refund({ reference, signal }) {
        await reach(signal);
        return { id: `re_${reference}`, state: "succeeded" };
      },
      findRefund: async () => undefined,
    },
    carrier: {
      name: "in-process",
      keepsKeys: true,
      ping: async () => undefined,
      create: async ({ reference }) => ({ carrierId: reference, rates: null }),
      find: async () => undefined,
      async buy({ orderId, signal }) {
        await reach(signal);
        const unknown = { carrierId: null, service: null, cost: null, trackingUrl: null, labelUrl: null };
        return { ...unknown, trackingNumber: orderId };
      },
      async void({ signal }) {
        await reach(signal);
        return { outcome: "voided" };
      },
      async track({ signal }) {
        await reach(signal);
        return { state: "DELIVERED", at: new Date(), expectedAt: null, reason: null, askAgainIn: null };
      },
    },
  };
};
export default inProcess;
