import { randomUUID } from "node:crypto";
import type { Database } from "../../db/database.ts";
import {
  bookReversal,
  type LedgerDecision,
  type LedgerRequest,
  type LedgerReversal,
} from "../../db/provider-ledger.ts";
import { ServiceUnavailableError, type Payments } from "../order/ports.ts";
import { offTheClock } from "../platform/time-limit.ts";
import { openLedger, type Ledger } from "./ledger.ts";
import type { Simulation } from "./simulation.ts";

const APPROVED: LedgerDecision = { outcome: "approved", reason: null };
const NO_ANSWER: LedgerDecision = { outcome: "pending", reason: null };

/**
 * Simulates a payment provider for development and tests. It keeps a ledger in MySQL by idempotency key, as a
 * real one does, so every charge and refund can be counted. The token decides:
 *
 * - `tok_approved`, any token not listed here, or none: approved.
 * - `tok_declined`: always declined.
 * - `tok_stumbles_N`: no answer to the first N attempts (1 to 99), then approved.
 * - `tok_down`: no answer until `npm run providers -- payments up` is run after the first attempt.
 */
export function simulatedPayments(
  database: Database,
  simulation: Simulation,
  ledger: Ledger = openLedger(database),
): Payments {
  return {
    async ping() {
      await simulation.upSince("payments");
    },

    async charge({ key, orderId, amount, currency, token, signal }) {
      const upSince = await simulation.reach("payments", signal);
      const request: LedgerRequest = {
        idempotencyKey: key,
        kind: "charge",
        orderId,
        amount,
        currency,
        providerId: `ch_${randomUUID()}`,
        createdAt: new Date(),
        decide: (asked) => decide(token, asked, upSince),
      };
      const entry = await offTheClock(signal, () => ledger.submit(request));
      switch (entry.outcome) {
        case "approved":
          return { approved: true, chargeId: entry.providerId };
        case "declined":
          return { approved: false, reason: entry.reason ?? "declined" };
        case "pending":
          throw new ServiceUnavailableError("payments", "the payment provider did not answer");
        case "void":
          throw new Error("the charge was refunded");
      }
    },

    async refund({ key, chargeKey, orderId, signal }) {
      await simulation.reach("payments", signal);
      const reversal: LedgerReversal = {
        idempotencyKey: key,
        reversedKey: chargeKey,
        reversedKind: "charge",
        kind: "refund",
        orderId,
        providerId: `re_${randomUUID()}`,
        createdAt: new Date(),
      };
      const entry = await offTheClock(signal, () => bookReversal(database, reversal));
      return entry && { refundId: entry.providerId };
    },
  };
}

function decide(
  token: string | null,
  asked: { readonly attempts: number; readonly createdAt: Date },
  upSince: Date | undefined,
): LedgerDecision {
  if (token === "tok_declined") return { outcome: "declined", reason: "the card was declined" };
  if (token === "tok_down") return upSince && upSince > asked.createdAt ? APPROVED : NO_ANSWER;
  const stumbles = /^tok_stumbles_(\d{1,2})$/.exec(token ?? "")?.[1];
  return stumbles !== undefined && asked.attempts <= Number(stumbles) ? NO_ANSWER : APPROVED;
}
