import type { Database } from "../../../db/database.ts";
import { findByProviderId } from "../../../db/payments.ts";
import { listRefunds, wakeRefunds } from "../../../db/refunds.ts";
import type { Payment } from "../../order/payment.ts";
import { booksOf } from "./books.ts";
import type { Disputes } from "./disputes.ts";
import { lookAgain } from "./refunding.ts";
import { InvalidWebhookError, type PaymentProvider, type WebhookSubject } from "../../order/ports.ts";
import type { Logger } from "../../platform/log.ts";
import { afterwards } from "../../platform/storage-error.ts";

export interface PaymentWebhooksOptions {
  readonly provider: Pick<PaymentProvider, "parseWebhook" | "findRefund" | "name">;
  readonly database: Database;
  readonly disputes: Pick<Disputes, "look">;
  /** Has the order's stage ask for the truth. */
  readonly wake: (orderId: string) => Promise<unknown>;
  /** Called after events are written. */
  readonly onEvents?: (() => void) | undefined;
  readonly log: Logger;
}

/**
 * Takes in the payment provider's webhooks. One is only a nudge: it says which payment to look at, and nothing that it
 * says is written down. So it does not matter how late, how often, or in which order they come. Disputes, and refunds that
 * were taken for done, are nobody's stage, so they are looked up here.
 */
export class PaymentWebhooks {
  readonly #options: PaymentWebhooksOptions;

  constructor(options: PaymentWebhooksOptions) {
    this.#options = options;
  }

  /** @throws {InvalidWebhookError} {StorageError}; for a dispute or a refund also what the provider throws: it is to send it again. */
  async receive(
    body: Buffer,
    headers: Readonly<Record<string, string | readonly string[] | undefined>>,
  ): Promise<void> {
    const { provider } = this.#options;
    if (!provider.parseWebhook)
      throw new InvalidWebhookError(`the payment provider (${provider.name}) sends no webhooks`);
    const single = Object.fromEntries(
      Object.entries(headers).map(([name, value]) => [name, typeof value === "string" ? value : undefined]),
    );
    await this.look(await provider.parseWebhook(body, single));
  }

  /** Looks at what a webhook is about. @throws {StorageError}; for a dispute or a refund also what the provider throws */
  async look(subject: WebhookSubject): Promise<void> {
    const { database, disputes, wake, log } = this.#options;
    const known =
      subject.paymentId === undefined ? undefined : await findByProviderId(database, subject.paymentId);
    const orderId = known?.orderId ?? subject.orderId;
    if (orderId === undefined) return;
    log.debug({ orderId, isDispute: subject.isDispute }, "the payment provider's webhook");
    if (subject.isDispute && known?.providerId) await disputes.look(known.providerId);
    await wakeRefunds(database, orderId);
    if (subject.refundId !== undefined && known) await this.#lookAgain(known, subject.refundId);
    await afterwards(() => wake(orderId));
  }

  /** A refund that has succeeded may fail later. Pending ones have been woken. */
  async #lookAgain(payment: Payment, refundId: string): Promise<void> {
    const { provider, database, onEvents, log } = this.#options;
    const { orderId, sequence } = payment;
    const refund = (await listRefunds(database, [orderId])).find(
      (each) => each.sequence === sequence && each.providerId === refundId && each.state === "SUCCEEDED",
    );
    if (refund === undefined || payment.provider !== provider.name) return;
    const { signal } = new AbortController();
    const { id, state, failure } = await lookAgain(
      { provider, books: booksOf(database) },
      refund,
      payment,
      signal,
    );
    if (state !== "FAILED") return;
    log.error({ orderId, refundId: id, reason: failure }, "a refund that had succeeded has failed");
    onEvents?.();
  }
}
