import type { Database } from "../../../db/database.ts";
import type { LockedOrder } from "../../../db/kept-back.ts";
import { listPayments, openPayments } from "../../../db/payments.ts";
import {
  changeRefund,
  findRefundOf,
  listDueRefunds,
  openRefund,
  type OpenedRefund,
} from "../../../db/refunds.ts";
import { timestamp } from "../../platform/clock.ts";
import { describeError, messageOf } from "../../platform/describe-error.ts";
import type { Lease } from "../../platform/lease.ts";
import type { Logger } from "../../platform/log.ts";
import { Repeat } from "../../platform/repeat.ts";
import type { Service } from "../../platform/service.ts";
import { withinTime } from "../../platform/time-limit.ts";
import { CANCEL, CANCELLED, lifecycle } from "../../order/lifecycle.ts";
import { cancelledPieces, type Idempotency, type StoredOrder } from "../../order/order.ts";
import {
  NotNowError,
  RequestRefusedError,
  ServiceUnavailableError,
  type PaymentProvider,
} from "../../order/ports.ts";
import type { Payment, Refund, RefundLine } from "../../order/payment.ts";
import { ship } from "../../order/stages/ship.ts";
import { mustBeOut, TooManyPiecesError, worthOf } from "../../order/refund.ts";
import { booksOf } from "./books.ts";
import { payBack } from "./refunding.ts";
import { paidBefore } from "./rows.ts";

/** What providers move multiples of. Minor units. */
const STEPS = [1, 10, 100, 1_000];
/** Payments change a few times in their life. */
const TRIES = 3;

/** The refund can't be made. */
export class RefundRefusedError extends Error {
  override name = "RefundRefusedError";
}

/** What a client asks for. Without `amount` and `lines`, all that is left. */
export interface RefundWish {
  readonly amount?: number | undefined;
  readonly lines?: readonly { readonly sku: string; readonly quantity: number }[] | undefined;
  readonly reason: string;
  readonly restock?: boolean | undefined;
  readonly actor: string | null;
  readonly idempotency?: Idempotency | undefined;
}

/** Takes requests for refunds. What pays them back is {@link RefundRunner}. */
export class Refunds {
  readonly #database: Database;
  readonly #onEvents: () => void;
  readonly #provider: Partial<Pick<PaymentProvider, "faultOfAmount" | "name">>;
  readonly #wake: ((orderId: string) => Promise<unknown>) | undefined;
  readonly #restocks: boolean;

  /**
   * @param given `wake`: has the order's stage look at what is left to ship. `restocks`: whether pieces can go back into stock
   * (true).
   */
  constructor(
    database: Database,
    onEvents: () => void,
    given: {
      readonly provider?: Partial<Pick<PaymentProvider, "faultOfAmount" | "name">>;
      readonly wake?: (orderId: string) => Promise<unknown>;
      readonly restocks?: boolean;
    } = {},
  ) {
    this.#database = database;
    this.#onEvents = onEvents;
    this.#provider = given.provider ?? {};
    this.#wake = given.wake;
    this.#restocks = given.restocks ?? true;
  }

  /**
   * Writes a refund down.
   *
   * @returns the refund, and whether an earlier request with the same key asked for it.
   * @throws {RefundRefusedError} if so much, or so many pieces, are not left. @throws {RefundKeyReusedError} {StorageError}
   */
  async request(
    order: StoredOrder,
    wish: RefundWish,
  ): Promise<{ readonly refund: Refund; readonly repeated: boolean }> {
    const opened = await this.#open(order, wish);
    if ("left" in opened) throw new RefundRefusedError(tooMuch(wish, opened, order.currency));
    this.#onEvents();
    // The refund says so too, so that the sweeper finds what this one misses.
    if (cancelledPieces(opened.refund.lines ?? []) > 0) await this.#wake?.(order.id).catch(() => undefined);
    return opened;
  }

  /** Once more if what is taken has changed since the payment was read. */
  async #open(order: StoredOrder, wish: RefundWish, tries = TRIES): Promise<OpenedRefund> {
    const { reason, actor, idempotency } = wish;
    const known = idempotency && (await findRefundOf(this.#database, order.id, idempotency));
    if (known) return { refund: known, repeated: true };
    if (wish.restock === true && !this.#restocks)
      throw new RefundRefusedError(
        "the stock is with an inventory that is not told of refunds: put the pieces back there, and refund them without restock",
      );
    const payment = await this.#paymentOf(order);
    const isCaptured = payment.state === "CAPTURED";
    this.#mustBeMovable(wish.amount, order.currency);
    const opened = await openRefund(this.#database, {
      orderId: order.id,
      sequence: payment.sequence,
      cause: isCaptured ? "requested" : "uncaptured",
      reason,
      actor,
      restock: wish.restock === true ? "due" : "no",
      idempotency,
      lines: null,
      amount: wish.amount ?? null,
      // Reckoned where the payment's row is locked, so that two requests never refund the same piece.
      pieces: wish.lines && {
        of: order.lines,
        skus: wish.lines.map(({ sku }) => sku),
        restock: wish.restock === true,
        // A label may be voided after the order has shipped.
        mayKeep: (now) => now.status === ship.to || (mayBeCancelled(now) && now.cancelRequestedAt === null),
        linesAfter: (earlier) => this.#linesOf(order, wish, earlier),
        movable: (amount) => this.#movable(amount, order.currency),
        check: (lines, now) => {
          if (wish.restock === true) mustComeBack(lines, now);
        },
      },
    });
    if ("changed" in opened && tries > 1) return this.#open(order, wish, tries - 1);
    return opened;
  }

  /**
   * The payment that is refunded. One that was made when payments were not written down yet is written down now.
   *
   * @throws {RefundRefusedError}
   */
  async #paymentOf(order: StoredOrder): Promise<Payment> {
    const all = await listPayments(this.#database, [order.id]);
    const payment = all.at(-1) ?? (await this.#writeDown(order));
    if (payment?.state === "CAPTURED" || payment?.state === "AUTHORIZED") return payment;
    // Its first authorization ran out: what is refunded is not taken with the next one.
    if (payment && all.some(({ state }) => state === "EXPIRED") && payment.state !== "CANCELLED")
      return payment;
    throw new RefundRefusedError(
      payment === undefined
        ? "nothing was paid that could be refunded"
        : `the payment is ${payment.state}, and nothing was taken that could be refunded`,
    );
  }

  /** Some currencies' shares of a line are in smaller units than the provider moves. */
  #movable(amount: number, currency: string): number {
    const parts = STEPS.map((step) => amount - (amount % step));
    return (
      parts.find((part) => this.#provider.faultOfAmount?.(part, currency, "refund") === undefined) ?? amount
    );
  }

  async #writeDown(order: StoredOrder): Promise<Payment | undefined> {
    const { name } = this.#provider;
    // What was paid back of a cancelled one was not written down either.
    const paid = name === undefined || order.status === CANCELLED ? undefined : paidBefore(order, { name });
    if (paid === undefined) return undefined;
    const [opened] = await openPayments(this.#database, [paid]);
    return opened?.payment;
  }

  #linesOf(order: StoredOrder, { lines = [], restock }: RefundWish, earlier: readonly Refund[]) {
    try {
      const worth = worthOf(order, lines, earlier);
      if (restock === true) mustBeOut(order, worth, earlier);
      return worth;
    } catch (error) {
      if (error instanceof TooManyPiecesError) throw new RefundRefusedError(error.message, { cause: error });
      throw error;
    }
  }

  /** @throws {RefundRefusedError} */
  #mustBeMovable(amount: number | undefined, currency: string): void {
    const fault =
      amount === undefined ? undefined : this.#provider.faultOfAmount?.(amount, currency, "refund");
    if (fault !== undefined) throw new RefundRefusedError(fault);
  }
}

function mayBeCancelled({ status }: { readonly status: string }): boolean {
  return lifecycle.statusesIn(CANCEL).includes(status);
}

/**
 * @throws {RefundRefusedError} if some of these are being shipped: they go back into stock once they are back; or if the
 *   order is cancelled, which puts them back itself
 */
function mustComeBack(lines: readonly RefundLine[], order: LockedOrder): void {
  const isOpen = mayBeCancelled(order);
  if (order.status === CANCELLED || (isOpen && order.cancelRequestedAt !== null))
    throw new RefundRefusedError(
      `the order ${isOpen ? "is being" : "was"} cancelled, which puts its pieces back into stock: refund them without restock`,
    );
  if (!isOpen) return;
  for (const { sku, quantity, cancelled = 0, stocked } of lines)
    if (stocked !== false && quantity > cancelled)
      throw new RefundRefusedError(
        `${quantity - cancelled} of ${quantity} ${sku} are in a parcel: call it off first, or refund them without restock`,
      );
}

function tooMuch(
  { amount = 0, lines }: RefundWish,
  { left, chargedBack = 0 }: { readonly left: number; readonly chargedBack?: number },
  currency: string,
): string {
  const without =
    chargedBack > 0 ? `; ${chargedBack} are disputed, and the customer's bank has taken them back` : "";
  if (left <= 0 && chargedBack === 0) return "all that was captured is refunded";
  if (left <= 0) return `nothing is left of what was captured that could be refunded${without}`;
  if (lines !== undefined) return "the pieces are worth nothing: refund them with restock, or not at all";
  return `${amount} can't be refunded: ${left} ${currency} in minor units are left of what was captured${without}`;
}

/** How often due refunds are looked for, and how many at once. */
const EVERY_MS = 1_000;
const PAGE = 100;
const AT_ONCE = 8;
/** The n-th retry waits 2^(n-1) times the first, at most an hour. Milliseconds. */
const FIRST_RETRY_MS = 2_000;
const LONGEST_RETRY_MS = 60 * 60_000;
/** A refund that the provider can make nothing of is tried so often. */
const MOST_REFUSALS = 3;

/** Pays back what is written down, in the background. One process at a time, the holder of the lease. */
export class RefundRunner implements Service {
  readonly name = "refunds";
  readonly #options: RefundRunnerOptions;
  readonly #rounds: Repeat;
  readonly #stopping = new AbortController();

  constructor(options: RefundRunnerOptions) {
    this.#options = options;
    this.#rounds = new Repeat({
      run: () => this.#run(),
      everyMs: options.everyMs ?? EVERY_MS,
      onError: (error) => options.log.warn({ error: describeError(error) }, "could not look for refunds"),
    });
  }

  start(): void {
    this.#rounds.start();
  }

  async stop(): Promise<void> {
    this.#stopping.abort(new Error("the process is stopping"));
    await this.#rounds.stop();
    await this.#options.lease?.release();
  }

  async #run(): Promise<number | void> {
    const { lease, database } = this.#options;
    if (lease && (await lease.hold()) === undefined) return;
    const due = await listDueRefunds(database, PAGE);
    for (let start = 0; start < due.length && !this.#stopping.signal.aborted; start += AT_ONCE)
      await Promise.all(due.slice(start, start + AT_ONCE).map((refund) => this.#payBack(refund)));
    return due.length === PAGE ? 0 : undefined;
  }

  async #payBack(refund: Refund): Promise<void> {
    const { database, provider, timeoutMs, onEvents, log } = this.#options;
    const { id: refundId, orderId, attempts } = refund;
    try {
      const payment = (await listPayments(database, [orderId])).find(
        ({ sequence }) => sequence === refund.sequence,
      );
      if (payment === undefined) throw new Error(`order ${orderId} has no payment to refund`);
      const books = booksOf(database);
      const now = await withinTime(timeoutMs, this.#stopping.signal, (signal) =>
        payBack({ provider, books }, refund, payment, signal),
      );
      if (now.state === "FAILED") log.error({ orderId, refundId, reason: now.failure }, "the refund failed");
      else log.info({ orderId, refundId, state: now.state }, "refunded");
      onEvents();
    } catch (error) {
      if (this.#stopping.signal.aborted) return;
      await this.#retryLater(refund, error);
      log.warn(
        { orderId, refundId, attempt: attempts + 1, error: describeError(error) },
        "could not refund yet",
      );
    }
  }

  /** What the provider can make nothing of fails in the end; everything else is tried for ever. */
  async #retryLater(refund: Refund, error: unknown): Promise<void> {
    const { database, onEvents } = this.#options;
    const attempts = refund.attempts + 1;
    const failure = messageOf(error);
    const isHopeless = error instanceof RequestRefusedError && attempts >= MOST_REFUSALS;
    const waitMs =
      error instanceof NotNowError
        ? error.waitMs
        : Math.min(FIRST_RETRY_MS * 2 ** Math.min(attempts - 1, 20), LONGEST_RETRY_MS);
    await changeRefund(database, refund, {
      attempts,
      failure,
      dueAt: new Date(timestamp().getTime() + waitMs),
      ...(isHopeless && { state: "FAILED" as const }),
    });
    if (isHopeless || !(error instanceof ServiceUnavailableError)) onEvents();
  }
}

export interface RefundRunnerOptions {
  readonly provider: PaymentProvider;
  readonly database: Database;
  readonly lease?: Lease | undefined;
  /** Of one refund, in milliseconds. */
  readonly timeoutMs: number;
  readonly everyMs?: number;
  /** Called after changes that are told as events. */
  readonly onEvents: () => void;
  readonly log: Logger;
}
