import type { CreatedOrder } from "../../src/engine/ports.ts";
import { quantitiesBySku, type NewOrder } from "../../src/order/order.ts";
import type { Books, EventRow, LedgerRow, OrderRow } from "./books.ts";

/** What the service promises was not kept. */
export class BrokenPromise extends Error {
  override name = "BrokenPromise";
}

/** What an order may become next: the whole business, written down a second time. */
const NEXT: Readonly<Record<string, readonly string[]>> = {
  CREATED: ["RESERVED", "CANCELLED"],
  RESERVED: ["PAID", "CANCELLED"],
  PAID: ["SHIPPED", "CANCELLED"],
  SHIPPED: ["DELIVERED"],
  DELIVERED: [],
  CANCELLED: [],
};

const TOO_LATE = new Set(["SHIPPED", "DELIVERED"]);

/** One order in the books. */
interface Account {
  readonly row: OrderRow;
  readonly request: NewOrder;
  readonly events: readonly EventRow[];
  /** Those that were approved. */
  readonly charges: readonly LedgerRow[];
  readonly refunds: readonly LedgerRow[];
  readonly labels: readonly LedgerRow[];
  readonly voids: readonly LedgerRow[];
  readonly reservation: string | undefined;
}

/**
 * What must hold, whatever the order of things: it knows what clients have asked for and been told, and what the books
 * said before, and judges what they say now. It knows nothing of jobs, workers and retries.
 */
export class OrderModel {
  /** Pieces loaded at the beginning, by SKU. */
  readonly #loaded: ReadonlyMap<string, number>;
  /** By the id that the order gets if it is a new one. */
  readonly #requests = new Map<string, NewOrder>();
  /** The first answer under each key. */
  readonly #answers = new Map<string, CreatedOrder>();
  readonly #accepted = new Set<string>();
  readonly #reasons = new Map<string, Set<string>>();
  readonly #told: { readonly orderId: string; readonly cancelled: boolean }[] = [];
  #deadlinePassed = false;
  #before: Books | undefined;

  constructor(loaded: ReadonlyMap<string, number>) {
    this.#loaded = loaded;
  }

  /** What clients asked for, answered or not. */
  get requests(): readonly NewOrder[] {
    return [...this.#requests.values()];
  }

  /** The orders that clients know of. */
  get accepted(): readonly string[] {
    return [...this.#accepted];
  }

  /** A client asks for an order. */
  createAsked(request: NewOrder): void {
    this.#requests.set(request.id, request);
  }

  /** A client's request for an order is answered: 202, or 422 for a key that stands for something else. */
  createAnswered(request: NewOrder, answer: CreatedOrder): void {
    const { idempotency } = request;
    const first = idempotency ? this.#answers.get(idempotency.key) : undefined;
    if (first === undefined) {
      if (idempotency) this.#answers.set(idempotency.key, answer);
    } else {
      must(answer.repeated, `${idempotency?.key} made two orders`);
      must(answer.id === first.id, `${idempotency?.key} gave ${first.id}, and then ${answer.id}`);
      must(+answer.createdAt === +first.createdAt, `${answer.id} was created at two times`);
      must(answer.requestHash === first.requestHash, `${answer.id} stands for two bodies`);
    }
    if (!answer.repeated) {
      must(answer.id === request.id, `a new order was given another id`);
      must(answer.requestHash === (idempotency?.requestHash ?? null), `a new order has another body's hash`);
    }
    must(!answer.repeated || idempotency !== null, `an order without a key repeats ${answer.id}`);
    const made = this.#requests.get(answer.id);
    must(made !== undefined, `nobody asked for ${answer.id}`);
    must(made.idempotency?.key === idempotency?.key, `${answer.id} was made under another key`);
    must(
      made.idempotency?.requestHash === (answer.requestHash ?? undefined),
      `${answer.id} was made for another body`,
    );
    // With another body it is a 422, which makes no promise.
    if (answer.requestHash === (idempotency?.requestHash ?? null)) this.#accepted.add(answer.id);
  }

  /** A client asks for an order to be cancelled. */
  cancelAsked(orderId: string, reason: string): void {
    const reasons = this.#reasons.get(orderId) ?? new Set();
    this.#reasons.set(orderId, reasons.add(reason));
  }

  /** How often an order's cancellation was asked for. */
  cancelsAsked(orderId: string): number {
    return this.#reasons.get(orderId)?.size ?? 0;
  }

  /** A client is told that the order will be cancelled (202), or that it is too late (409). */
  cancelAnswered(orderId: string, accepted: boolean): void {
    this.#told.push({ orderId, cancelled: accepted });
  }

  /** Orders may be too late from now on. */
  deadlinePassed(): void {
    this.#deadlinePassed = true;
  }

  /** Judges the books between two steps of the service. @throws {BrokenPromise} */
  observe(books: Books): void {
    const accounts = this.#accounts(books);
    this.#checkNothingRewritten(books);
    for (const id of this.#accepted) must(accounts.has(id), `accepted, and not written down: ${id}`);
    const keys = books.orders.flatMap(({ idempotencyKey }) => idempotencyKey ?? []);
    must(new Set(keys).size === keys.length, `two orders under one key: ${keys.join(", ")}`);
    for (const account of accounts.values()) {
      checkPath(account);
      checkMoney(account);
      checkParcel(account);
      checkStatus(account);
      this.#checkCancellation(account, books);
    }
    for (const { orderId, cancelled } of this.#told) {
      const row = accounts.get(orderId)?.row;
      must(row !== undefined, `there is no ${orderId}`);
      must(cancelled === (row.cancelRequestedAt !== null), `told ${cancelled} of cancelling a ${row.status}`);
      must(cancelled === !TOO_LATE.has(row.status), `told ${cancelled} of cancelling a ${row.status}`);
    }
    this.#checkStock(books, accounts);
    this.#before = books;
  }

  /** Judges the books when all that could go wrong is over, and the service had its time. @throws {BrokenPromise} */
  end(books: Books): void {
    this.observe(books);
    for (const { id, status, cancelRequestedAt } of books.orders) {
      must(NEXT[status]?.length === 0, `${id} has not ended: ${status}`);
      must((status === "CANCELLED") === (cancelRequestedAt !== null), `${id} is ${status}`);
    }
    for (const { sku, reserved } of books.stock) must(reserved === 0, `${reserved} of ${sku} stay reserved`);
  }

  #accounts(books: Books): Map<string, Account> {
    return new Map(
      books.orders.map((row) => {
        const request = this.#requests.get(row.id);
        must(request !== undefined, `nobody asked for ${row.id}`);
        const approved = (kind: string) =>
          books.ledger.filter(
            (entry) => entry.orderId === row.id && entry.kind === kind && entry.outcome === "approved",
          );
        const account: Account = {
          row,
          request,
          events: books.events.filter(({ orderId }) => orderId === row.id),
          charges: approved("charge"),
          refunds: approved("refund"),
          labels: approved("label"),
          voids: approved("label-void"),
          reservation: books.reservations.find(({ orderId }) => orderId === row.id)?.state,
        };
        return [row.id, account];
      }),
    );
  }

  /** The log only grows, and what was asked for first stands. */
  #checkNothingRewritten(books: Books): void {
    const before = this.#before;
    if (before === undefined) return;
    must(
      before.events.every((event, index) => books.events[index]?.id === event.id),
      "an event was lost, or put in between",
    );
    for (const { id, cancelRequestedAt, cancelReason } of before.orders) {
      const now = books.orders.find((row) => row.id === id);
      must(now !== undefined, `${id} was lost`);
      if (cancelRequestedAt === null) continue;
      const same = now.cancelReason === cancelReason && +(now.cancelRequestedAt ?? 0) === +cancelRequestedAt;
      must(same, `${id} was to be cancelled (${cancelReason}), and no longer (${now.cancelReason})`);
    }
  }

  /** An order is cancelled because its customer wants it, or for a reason that is true. */
  #checkCancellation({ row, request }: Account, books: Books): void {
    const declined = request.paymentToken === "tok_declined" && request.total > 0;
    must(!declined || ["CREATED", "RESERVED", "CANCELLED"].includes(row.status), `${row.id} was never paid`);
    if (row.cancelRequestedAt === null) return;
    must(!TOO_LATE.has(row.status), `${row.id} was to be cancelled and is ${row.status}`);
    const reason = row.cancelReason ?? "";
    if (this.#reasons.get(row.id)?.has(reason)) return;
    if (declined && reason.startsWith("payment declined: ")) return;
    if (this.#deadlinePassed && reason.startsWith("not paid within ")) return;
    const soldOut = /^sold out: (.*)$/.exec(reason)?.[1]?.split(", ");
    must(soldOut !== undefined, `nobody gave the reason to cancel ${row.id}: ${reason}`);
    for (const sku of soldOut) {
      const wanted = books.orders.reduce((sum, { id }) => sum + this.#wanted(id, sku), 0);
      must(wanted > (this.#loaded.get(sku) ?? 0), `${sku} was not sold out`);
    }
  }

  #wanted(orderId: string, sku: string): number {
    return quantitiesBySku(this.#requests.get(orderId)?.lines ?? []).get(sku) ?? 0;
  }

  #checkStock(books: Books, accounts: ReadonlyMap<string, Account>): void {
    for (const { sku, onHand, reserved } of books.stock) {
      const pieces = (state: string) =>
        [...accounts.values()]
          .filter(({ reservation }) => reservation === state)
          .reduce((sum, { row }) => sum + this.#wanted(row.id, sku), 0);
      const level = `${sku}: ${onHand} on hand, ${reserved} reserved`;
      must(0 <= reserved && reserved <= onHand, level);
      must(reserved === pieces("HELD"), `${level}, ${pieces("HELD")} held by orders`);
      must(onHand + pieces("SHIPPED") === this.#loaded.get(sku), `${level}, ${pieces("SHIPPED")} shipped`);
    }
  }
}

function checkPath({ row, events }: Account): void {
  const path = `${row.id}: ${events.map(({ fromStatus, toStatus }) => `${fromStatus}>${toStatus}`).join(" ")}`;
  must(events[0]?.fromStatus === null && events[0].toStatus === "CREATED", path);
  for (const [index, { fromStatus, toStatus }] of events.entries()) {
    if (index === 0) continue;
    must(fromStatus !== null && fromStatus === events[index - 1]?.toStatus, path);
    must(NEXT[fromStatus]?.includes(toStatus), path);
  }
  must(events.at(-1)?.toStatus === row.status, `${path}, and it is ${row.status}`);
}

function checkMoney({ row, charges, refunds }: Account): void {
  must(charges.length <= 1, `${row.id} was charged ${charges.length} times`);
  must(refunds.length <= charges.length, `${row.id} was refunded ${refunds.length} times`);
  for (const { amount } of [...charges, ...refunds])
    must(amount === row.total, `${row.id} cost ${row.total}, and ${amount} moved`);
  must(refunds.length === 0 || row.cancelRequestedAt !== null, `${row.id} was refunded and not cancelled`);
}

function checkParcel({ row, labels, voids, reservation }: Account): void {
  must(labels.length <= 1, `${row.id} has ${labels.length} labels`);
  must(voids.length <= labels.length, `${row.id} has ${voids.length} labels called off`);
  const takenBack = voids.length > 0 || reservation === "RELEASED";
  must(!takenBack || row.cancelRequestedAt !== null, `${row.id} was taken back and not cancelled`);
}

/** What an order of this status has, and has not. */
function checkStatus({ row, charges, refunds, labels, voids, reservation }: Account): void {
  const { id, status, total } = row;
  const has = [
    `${id} is ${status}, with ${charges.length} charges, ${refunds.length} refunds, ${labels.length} labels`,
    `${voids.length} of them called off, and its goods are ${reservation}`,
  ].join(", ");
  const toBeCancelled = row.cancelRequestedAt !== null;
  const paid = charges.length === (total === 0 ? 0 : 1);
  switch (status) {
    case "CREATED":
      must(charges.length === 0 && labels.length === 0, has);
      break;
    case "RESERVED":
      must(labels.length === 0 && (toBeCancelled || reservation === "HELD"), has);
      break;
    case "PAID":
      must(paid && (toBeCancelled || reservation === "HELD" || reservation === "SHIPPED"), has);
      break;
    case "SHIPPED":
    case "DELIVERED":
      must(paid && refunds.length === 0, has);
      must(labels.length === 1 && voids.length === 0 && reservation === "SHIPPED", has);
      break;
    case "CANCELLED":
      must(charges.length === refunds.length && labels.length === voids.length, has);
      must(reservation === "RELEASED", has);
      break;
    default:
      must(false, has);
  }
  if (NEXT[status]?.length === 0) must(row.failedAt === null, `${id} is ${status}, and said to have failed`);
}

function must(holds: boolean | undefined, otherwise: string): asserts holds {
  if (holds !== true) throw new BrokenPromise(otherwise);
}
