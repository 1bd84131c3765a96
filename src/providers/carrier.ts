import { randomUUID } from "node:crypto";
import type { Database } from "../../db/database.ts";
import { bookReversal, type LedgerRequest, type LedgerReversal } from "../../db/provider-ledger.ts";
import type { Carrier } from "../order/ports.ts";
import { offTheClock } from "../platform/time-limit.ts";
import { openLedger, type Ledger } from "./ledger.ts";
import type { Simulation } from "./simulation.ts";

/**
 * Simulates a carrier for development and tests: a parcel is delivered `transitMs` after its label was made. It
 * shares the payment provider's ledger. The tracking number encodes when the label was made.
 */
export function simulatedCarrier(
  database: Database,
  simulation: Simulation,
  transitMs: number,
  ledger: Ledger = openLedger(database),
): Carrier {
  return {
    async ping() {
      await simulation.upSince("carrier");
    },

    async createLabel({ key, orderId, signal }) {
      await simulation.reach("carrier", signal);
      const createdAt = new Date();
      const request: LedgerRequest = {
        idempotencyKey: key,
        kind: "label",
        orderId,
        amount: 0,
        currency: null,
        providerId: trackingNumber(createdAt),
        createdAt,
        decide: () => ({ outcome: "approved", reason: null }),
      };
      const entry = await offTheClock(signal, () => ledger.submit(request));
      if (entry.outcome !== "approved") throw new Error("the label was voided");
      return { trackingNumber: entry.providerId };
    },

    async voidLabel({ key, labelKey, orderId, signal }) {
      await simulation.reach("carrier", signal);
      const reversal: LedgerReversal = {
        idempotencyKey: key,
        reversedKey: labelKey,
        reversedKind: "label",
        kind: "label-void",
        orderId,
        providerId: "",
        createdAt: new Date(),
      };
      await offTheClock(signal, () => bookReversal(database, reversal));
    },

    async track({ trackingNumber: number, signal }) {
      await simulation.reach("carrier", signal);
      const arrival = handedIn(number).getTime() + transitMs;
      const remaining = arrival - Date.now();
      return remaining > 0
        ? { delivered: false, askAgainIn: remaining }
        : { delivered: true, at: new Date(arrival) };
    },
  };
}

function trackingNumber(at: Date): string {
  return `CV${at.getTime().toString(36)}-${randomUUID().slice(-12)}`.toUpperCase();
}

function handedIn(number: string): Date {
  const time = /^CV([0-9A-Z]+)-[0-9A-F]{12}$/.exec(number)?.[1];
  if (time === undefined) throw new Error(`the carrier does not know the tracking number ${number}`);
  return new Date(Number.parseInt(time, 36));
}
