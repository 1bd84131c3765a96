import type { Database } from "../../../db/database.ts";
import { timestamp } from "../../platform/clock.ts";
import type { Commit } from "../../platform/group-commit.ts";
import { offTheClock } from "../../platform/time-limit.ts";
import type { Order } from "../../order/order.ts";
import {
  AlreadyUndoneError,
  NotNowError,
  RequestRefusedError,
  ServiceFailedError,
  UndecidedError,
  type CaptureOutcome,
  type OrderPaymentRequest,
  type PaymentProvider,
  type Payments,
  type ProviderPayment,
} from "../../order/ports.ts";
import { referenceOf, type Payment, type PaymentChange } from "../../order/payment.ts";
import { booksOf, type Books } from "./books.ts";
import { mustBeOf, payBack } from "./refunding.ts";
import { firstOf, keyed, namedOf, nextOf, paidBefore } from "./rows.ts";

/** How soon an order asks again what a bank, or who decides on a dispute, has decided, if no webhook tells. Milliseconds. */
const UNDECIDED_MS = 5 * 60_000;
/** How soon a stage looks anew at a payment that somebody else has changed meanwhile. */
const AT_ONCE_MS = 100;
/** Changes of one payment at the same moment are few. */
const TRIES = 5;

/** What an earlier card has left. */
const TAKEN = { action: null, reason: null, code: null } as const;

/** When a payment's money is taken: when the order is paid, or when it ships. */
export type CaptureTime = "on-payment" | "on-shipment";

/**
 * The payments of orders, at a provider. A payment is written down before the provider is asked, and looked up before it
 * is asked again, so what the provider forgets charges nobody twice.
 */
export class PaymentDesk implements Payments {
  readonly #provider: PaymentProvider;
  readonly #books: Books;
  readonly #captureTime: CaptureTime;

  /** @param options `commit`: group commit. */
  constructor(options: {
    readonly provider: PaymentProvider;
    readonly database: Database;
    readonly commit?: Commit | undefined;
    readonly capture?: CaptureTime | undefined;
  }) {
    this.#provider = options.provider;
    this.#books = booksOf(options.database, options.commit);
    this.#captureTime = options.capture ?? "on-payment";
  }

  ping(signal: AbortSignal): Promise<void> {
    return this.#provider.ping(signal);
  }

  async pay({ order, attempt, signal }: OrderPaymentRequest): Promise<PaymentChange> {
    const provider = this.#provider;
    // Repeating the request has no further effect, so there is nothing to look up.
    if (provider.keepsKeys) return this.#authorize(order, firstOf(order, provider), signal);
    const { payment, isNew } = await offTheClock(signal, () => this.#books.open(firstOf(order, provider)));
    if (payment.state === "CANCELLED" || payment.state === "EXPIRED")
      throw new AlreadyUndoneError(`the payment of order ${order.id} was called off`);
    if (payment.state !== "PENDING") return payment;
    mustBeOf(provider, payment);
    const found = isNew && attempt === 1 ? undefined : await this.#find(payment, signal);
    if (found && found.state !== "created") return this.#settle(payment, found, signal);
    return this.#authorize(order, payment, signal);
  }

  async capture({ order, signal }: OrderPaymentRequest): Promise<CaptureOutcome> {
    const payment = await offTheClock(signal, () => this.#books.last(order.id));
    switch (payment?.state) {
      case undefined:
      case "CAPTURED":
        return "captured";
      case "CANCELLED":
        if ((await this.#owed(payment, signal)) <= 0) return "captured";
        throw new AlreadyUndoneError(`the payment of order ${order.id} was called off`);
      case "AUTHORIZED":
        return this.#capture(order, payment, signal);
      case "PENDING":
        return this.#renew(order, payment, signal);
      case "EXPIRED": {
        const next = nextOf(payment);
        const opened = await offTheClock(signal, () => this.#books.openNext(payment, next));
        if (!opened) throw changedMeanwhile();
        return this.#renew(order, next, signal);
      }
      case "DECLINED":
        return {
          waitsFor: `a new payment: the authorization ran out, and the next one was declined (${payment.reason})`,
        };
    }
  }

  async #capture(order: Order, payment: Payment, signal: AbortSignal): Promise<CaptureOutcome> {
    mustBeOf(this.#provider, payment);
    const amount = payment.captured || (await this.#owed(payment, signal));
    // A provider answers as it did the first time, whatever is asked for then.
    if (amount > 0 && payment.captured === 0) {
      const isWritten = await this.#change(payment, { captured: amount }, signal);
      if (!isWritten) throw changedMeanwhile();
      return this.#capture(order, { ...payment, captured: amount }, signal);
    }
    const named = { ...namedOf(payment), id: payment.providerId ?? "", amount };
    const key = keyed(`${named.reference}:capture`, payment);
    const answer = await this.#answerOf(payment, signal, () =>
      amount > 0
        ? this.#provider.capture({ ...named, key, signal })
        : this.#provider.cancel({ ...named, key, signal }),
    );
    switch (answer.state) {
      case "captured":
        // What was refunded meanwhile is paid back.
        if (!(await this.#change(payment, { state: "CAPTURED", captured: answer.amount }, signal)))
          throw changedMeanwhile();
        return "captured";
      case "cancelled":
        await this.#change(payment, { state: amount > 0 ? "EXPIRED" : "CANCELLED", captured: 0 }, signal);
        return this.capture({ order, attempt: 1, signal });
      case "authorized":
      case "created":
      case "declined":
      case "pending":
        throw undecided();
    }
  }

  /** Authorizes anew what ran out, and takes it. The customer may have to confirm, or to pay with something else. */
  async #renew(order: Order, payment: Payment, signal: AbortSignal): Promise<CaptureOutcome> {
    mustBeOf(this.#provider, payment);
    const found = await this.#find(payment, signal);
    const answer =
      found && found.state !== "created" ? found : await this.#authorized(order, payment, signal);
    const current = (await offTheClock(signal, () => this.#books.last(order.id))) ?? payment;
    if (answer.state === "declined" && answer.action) {
      const { reason, code = null, action } = answer;
      await this.#change(current, { action, reason, code }, signal);
      return { waitsFor: toRenew({ action, reason }) };
    }
    const settled = await this.#settle(current, answer, signal);
    const { state, providerId, captured, expiresAt, action } = settled;
    if (state === "DECLINED") return this.capture({ order, attempt: 1, signal });
    if (state === "PENDING") return { waitsFor: toRenew(settled) };
    const isWritten = await this.#change(
      current,
      { state, providerId, captured, expiresAt, action, reason: null, code: null },
      signal,
    );
    if (!isWritten) throw changedMeanwhile();
    return this.capture({ order, attempt: 1, signal });
  }

  /** What is to be taken: what was asked for, less what was refunded since. */
  async #owed(payment: Payment, signal: AbortSignal): Promise<number> {
    return payment.amount - (await offTheClock(signal, () => this.#books.uncaptured(payment.orderId)));
  }

  async undo(request: OrderPaymentRequest): Promise<{ readonly refundId?: string }> {
    for (let tries = 1; tries <= TRIES; tries++) {
      const undone = await this.#undo(request);
      if (undone) return undone;
    }
    throw new Error(`the payment of order ${request.order.id} changes all the time`);
  }

  /** @returns undefined if the payment was changed meanwhile. */
  async #undo({ order, signal }: OrderPaymentRequest): Promise<{ readonly refundId?: string } | undefined> {
    const payment = await offTheClock(signal, () => this.#paymentToUndo(order));
    switch (payment?.state) {
      case undefined:
      case "CANCELLED":
        return {};
      case "EXPIRED":
        // It is not renewed any more.
        return (await this.#change(payment, { state: "CANCELLED" }, signal)) ? {} : undefined;
      case "DECLINED":
        // The customer could still pay, or has.
        if (payment.action === null) return {};
        break;
      case "CAPTURED":
        return this.#payBack(payment, signal);
      case "PENDING":
      case "AUTHORIZED":
        break;
    }
    const answer = await this.#cancel(payment, signal);
    switch (answer.state) {
      case "captured": {
        const { id: providerId, amount: captured } = answer;
        const change = { state: "CAPTURED", providerId, captured, action: null } as const;
        if (await this.#change(payment, change, signal))
          return this.#payBack({ ...payment, ...change }, signal);
        return undefined;
      }
      case "cancelled": {
        // Paid back already if it was too late: then it is written down as what it was.
        const change =
          answer.refundId === undefined
            ? ({ state: "CANCELLED", captured: 0, action: null } as const)
            : ({ state: "CAPTURED", captured: await this.#owed(payment, signal), action: null } as const);
        if (!(await this.#change(payment, change, signal))) return undefined;
        return answer.refundId === undefined
          ? {}
          : this.#payBack({ ...payment, ...change }, signal, answer.refundId);
      }
      case "declined": {
        const { reason, code = null, action } = answer;
        // The customer could still pay: it was not called off, since its key stands for an earlier refusal.
        if (action && (await this.#spendKey(payment, signal))) return undefined;
        return (await this.#change(payment, { state: "DECLINED", reason, code, action: null }, signal))
          ? {}
          : undefined;
      }
      case "authorized":
      case "created":
      case "pending":
        await this.#spendKey(payment, signal);
        throw undecided();
    }
  }

  /** The key of what was refused gets the same answer later, whatever the payment is by then. @returns whether there is another one */
  async #spendKey(payment: Payment, signal: AbortSignal): Promise<boolean> {
    if (this.#provider.keepsKeys) return false;
    return this.#change(payment, { spentKeys: payment.spentKeys + 1 }, signal);
  }

  /**
   * The order's payment. If there is none, one is written, so that none is made later: the provider is then asked by our
   * own name. An order that was paid when payments were not written down yet has its payment written now.
   */
  async #paymentToUndo(order: Order): Promise<Payment | undefined> {
    if (order.total === 0) return undefined;
    const wanted = paidBefore(order, this.#provider) ?? firstOf(order, this.#provider);
    return (await this.#books.open(wanted)).payment;
  }

  async #authorize(order: Order, payment: Payment, signal: AbortSignal): Promise<PaymentChange> {
    return this.#settle(payment, await this.#authorized(order, payment, signal), signal);
  }

  #authorized(order: Order, payment: Payment, signal: AbortSignal): Promise<ProviderPayment> {
    const { customerId, customer, paymentToken: token, shipTo, metadata } = order;
    const reference = referenceOf(payment);
    return this.#answerOf(payment, signal, () =>
      this.#provider.authorize({
        orderId: order.id,
        reference,
        id: payment.providerId,
        key: keyed(reference, payment),
        amount: payment.amount,
        currency: payment.currency,
        capture: this.#captureTime === "on-shipment" ? "later" : "at once",
        token,
        description: `Order ${order.reference ?? order.id}`,
        customer: { id: customerId, email: customer?.email },
        shipTo,
        metadata,
        remember: (id) => this.#remember(payment, id, signal),
        signal,
      }),
    );
  }

  /** @throws {AlreadyUndoneError} */
  async #remember(payment: Payment, providerId: string, signal: AbortSignal): Promise<void> {
    if (this.#provider.keepsKeys) return;
    const now = await offTheClock(signal, () => this.#books.remember({ payment, providerId }));
    if (now?.state === "PENDING" && now.providerId === providerId) return;
    if (now?.state === "PENDING") throw new Error(`another attempt pays order ${payment.orderId}`);
    throw new AlreadyUndoneError(`the payment of order ${payment.orderId} was called off`);
  }

  /** Asks the provider. A key that may stand for a server error is not used again. */
  async #answerOf(
    payment: Payment,
    signal: AbortSignal,
    ask: () => Promise<ProviderPayment>,
  ): Promise<ProviderPayment> {
    try {
      return await ask();
    } catch (error) {
      if (error instanceof ServiceFailedError && !this.#provider.keepsKeys) {
        const now = (await offTheClock(signal, () => this.#books.last(payment.orderId))) ?? payment;
        await this.#change(now, { spentKeys: now.spentKeys + 1 }, signal);
      }
      throw error;
    }
  }

  /** What an answer makes of a payment: written at once, unless it comes with the order's status. */
  async #settle(payment: Payment, answer: ProviderPayment, signal: AbortSignal): Promise<PaymentChange> {
    const now = { ...payment, updatedAt: timestamp() };
    switch (answer.state) {
      case "captured":
        return { ...now, ...TAKEN, state: "CAPTURED", providerId: answer.id, captured: answer.amount };
      case "authorized":
        return {
          ...now,
          ...TAKEN,
          state: "AUTHORIZED",
          providerId: answer.id,
          expiresAt: answer.expiresAt ?? null,
        };
      case "pending": {
        const { action = null, reason = payment.reason } = answer;
        const pending = { ...now, state: "PENDING", providerId: answer.id, action, reason } as const;
        const stored = { ...payment, providerId: answer.id };
        if (JSON.stringify(action) !== JSON.stringify(payment.action) || reason !== payment.reason)
          await this.#change(stored, { action, reason }, signal);
        return pending;
      }
      case "declined": {
        const { reason, code = null } = answer;
        const current = (await offTheClock(signal, () => this.#books.last(payment.orderId))) ?? payment;
        // Who pays in a browser may try again, or take another card.
        if (current.state === "PENDING" && current.action !== null && answer.action) {
          const { action } = answer;
          if (current.reason !== reason || current.code !== code)
            await this.#change(current, { action, reason, code }, signal);
          return { ...current, action, reason, code };
        }
        await this.#change(current, { state: "DECLINED", reason, code }, signal);
        return { ...current, state: "DECLINED", reason, code };
      }
      case "cancelled":
        throw new AlreadyUndoneError(`the payment of order ${payment.orderId} was called off`);
      case "created":
        throw new RequestRefusedError(`the payment of order ${payment.orderId} was not confirmed`);
    }
  }

  #change(payment: Payment, change: Parameters<Books["change"]>[1], signal: AbortSignal): Promise<boolean> {
    return offTheClock(signal, () => this.#books.change(payment, change));
  }

  #find(payment: Payment, signal: AbortSignal): Promise<ProviderPayment | undefined> {
    return this.#provider.find({ ...namedOf(payment), signal });
  }

  #cancel(payment: Payment, signal: AbortSignal): Promise<ProviderPayment> {
    mustBeOf(this.#provider, payment);
    const named = namedOf(payment);
    const key = keyed(`${named.reference}:undo`, payment);
    return this.#answerOf(payment, signal, () => this.#provider.cancel({ ...named, key, signal }));
  }

  /** Pays all back that is left. `providerId` if that was done already. @throws if that fails: the order is not cancelled before it is on its way. */
  async #payBack(
    payment: Payment,
    signal: AbortSignal,
    providerId?: string,
  ): Promise<{ readonly refundId?: string }> {
    await this.#lookAtDispute(payment, signal);
    const { orderId, sequence } = payment;
    const opened = await offTheClock(signal, () =>
      this.#books.openRefund({
        orderId,
        sequence,
        cause: "cancelled",
        amount: null,
        reason: "the order was cancelled",
        lines: null,
        restock: "no",
        actor: null,
        providerId,
      }),
    );
    if ("left" in opened) return {};
    const refund = await payBack(
      { provider: this.#provider, books: this.#books },
      opened.refund,
      payment,
      signal,
    );
    if (refund.state === "FAILED")
      throw new Error(`the refund failed: ${refund.failure ?? "no reason given"}`);
    return refund.providerId === null ? {} : { refundId: refund.providerId };
  }

  /**
   * Writes down what a dispute has come to: what is lost is not refunded as well. Asks the provider, since the webhook that
   * tells of a dispute's end may be lost.
   *
   * @throws {UndecidedError} while the dispute is open: its end decides
   */
  async #lookAtDispute(payment: Payment, signal: AbortSignal): Promise<void> {
    const { providerId: id, dispute, disputed, currency } = payment;
    if (id === null || dispute === null || dispute === "WON" || dispute === "CLOSED") return;
    const now = (await this.#provider.disputeOf?.({ id, currency, signal })) ?? {
      state: dispute,
      amount: disputed,
    };
    if (now.state === "OPEN") throw new UndecidedError("the dispute of the payment to end", UNDECIDED_MS);
    if (now.state === dispute && now.amount === disputed) return;
    if (!(await offTheClock(signal, () => this.#books.disputed(payment, now)))) throw changedMeanwhile();
  }
}

/** What an authorization waits for that takes the place of one that has run out. */
function toRenew({ action, reason }: Pick<Payment, "action" | "reason">): string {
  if (action === null) return "the new payment to be decided";
  if (reason === null) return "the customer to confirm the new payment";
  return `the customer to pay anew: the authorization ran out, and then: ${reason}`;
}

/** The bank or the customer decides first. */
function undecided(): UndecidedError {
  return new UndecidedError("the payment to be decided", UNDECIDED_MS);
}

function changedMeanwhile(): NotNowError {
  return new NotNowError("the payment was changed meanwhile", AT_ONCE_MS);
}
