import type { Database } from "../../../db/database.ts";
import { findByProviderId, recordDispute } from "../../../db/payments.ts";
import { NotAmendableError } from "../../order/amendment.ts";
import { moneyText } from "../../order/money.ts";
import type { Payment } from "../../order/payment.ts";
import type { PaymentProvider } from "../../order/ports.ts";
import type { Logger } from "../../platform/log.ts";

/** The name of the hold. */
const HOLD = "disputed";
/** Its reason. */
const WHY = {
  INQUIRY: "the customer's bank asks about the payment",
  OPEN: "the customer disputes the payment",
  LOST: "the dispute of the payment was lost",
} as const;
/** Several webhooks about one payment at the same moment are few. */
const TRIES = 5;

export interface DisputesOptions {
  readonly provider: Pick<PaymentProvider, "disputeOf" | "name">;
  readonly database: Database;
  /** @throws {NotAmendableError} */
  readonly hold: (
    orderId: string,
    hold: { readonly name: string; readonly reason: string },
    actor: string,
  ) => Promise<unknown>;
  /** @throws {NotAmendableError} */
  readonly release: (orderId: string, name: string, actor: string) => Promise<unknown>;
  /** Called after events are written. */
  readonly onEvents?: (() => void) | undefined;
  readonly log: Logger;
}

/**
 * Holds orders whose payment is disputed, or asked about by the bank, until that has ended. What is lost stays held: somebody
 * has to decide.
 */
export class Disputes {
  readonly #options: DisputesOptions;

  constructor(options: DisputesOptions) {
    this.#options = options;
  }

  /**
   * Asks the provider how a payment is disputed, and writes it down. It may be called twice at once and in any order: what
   * is written was asked for after what it replaces was read.
   *
   * @param id the provider's id of the payment. @throws what the provider throws. @throws {StorageError}
   */
  async look(id: string): Promise<void> {
    const { provider, database, onEvents, log } = this.#options;
    for (let tries = 1; tries <= TRIES; tries++) {
      const payment = await findByProviderId(database, id);
      if (payment === undefined || payment.provider !== provider.name) return;
      const { orderId, currency } = payment;
      const { signal } = new AbortController();
      const dispute = await provider.disputeOf?.({ id, currency, signal });
      if (dispute === undefined) return;
      const { state, amount } = dispute;
      // Before it is written down, so that the next webhook repeats what was interrupted.
      if (state === "WON" || state === "CLOSED") await this.#release(orderId);
      // Once: who releases the hold by hand has decided.
      else if (state !== payment.dispute) await this.#hold(payment, { state, amount });
      if (state === payment.dispute && amount === payment.disputed) return;
      if (await recordDispute(database, payment, dispute)) {
        log.info({ orderId, dispute: state, amount }, "the payment is disputed, or its dispute has ended");
        return onEvents?.();
      }
    }
    throw new Error(`the dispute of payment ${id} changes all the time`);
  }

  async #hold(
    { orderId, captured, currency }: Payment,
    { state, amount }: { readonly state: keyof typeof WHY; readonly amount: number | null },
  ): Promise<void> {
    const { hold, provider } = this.#options;
    const part =
      amount === null || amount >= captured
        ? ""
        : `, ${moneyText(amount, currency)} of it`.replace("\u00a0", " ");
    // What has ended can't be held: the event tells of it.
    await ifAmendable(() => hold(orderId, { name: HOLD, reason: WHY[state] + part }, provider.name));
  }

  async #release(orderId: string): Promise<void> {
    const { release, provider } = this.#options;
    await ifAmendable(() => release(orderId, HOLD, provider.name));
  }
}

async function ifAmendable(work: () => Promise<unknown>): Promise<void> {
  try {
    await work();
  } catch (error) {
    if (!(error instanceof NotAmendableError)) throw error;
  }
}
