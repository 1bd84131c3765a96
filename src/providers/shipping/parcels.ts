import type { Database } from "../../../db/database.ts";
import { changeShipment, nudgeShipment, planShipment, type ShipmentUpdate } from "../../../db/shipments.ts";
import { CANCEL, lifecycle } from "../../order/lifecycle.ts";
import type { StoredOrder } from "../../order/order.ts";
import { TooManyPiecesError } from "../../order/pieces.ts";
import { InvalidWebhookError, type CarrierProvider } from "../../order/ports.ts";
import {
  holdsPieces,
  mayBeBooked,
  mayBeClosed,
  mayBeVoided,
  type Parcel,
  type Shipment,
} from "../../order/shipment.ts";
import { deliver } from "../../order/stages/deliver.ts";
import { ship } from "../../order/stages/ship.ts";
import { timestamp } from "../../platform/clock.ts";
import { describeError } from "../../platform/describe-error.ts";
import type { Logger } from "../../platform/log.ts";
import { afterwards, StorageError } from "../../platform/storage-error.ts";
import { booksOf, type Books } from "./books.ts";
import { takeBack } from "./labels.ts";

/** What looks at an order's parcels. */
const STEPS = [ship.name, deliver.name, CANCEL.name];
/** How long a carrier has to take a label back while its webhook waits for the answer. Milliseconds. */
const WITHIN_MS = 5_000;

export interface ParcelsOptions {
  readonly database: Database;
  readonly provider: Pick<CarrierProvider, "name" | "parseWebhook" | "void">;
  /** Has the order's stage look at its parcels, if it waits. */
  readonly wake: (orderId: string) => Promise<unknown>;
  /** The same, also if the order has failed in one of these steps: somebody has changed something since. */
  readonly goOn: (orderId: string, steps: readonly string[], actor: string) => Promise<unknown>;
  /** Called after events are written. */
  readonly onEvents: () => void;
  readonly log: Logger;
}

/** What is asked for does not fit what the shipment, or its order, is. */
export class ParcelRefusedError extends Error {
  override name = "ParcelRefusedError";
}

/** A webhook told of something that can't be done yet: the carrier is to send it again. */
export class NotYetDoneError extends Error {
  override name = "NotYetDoneError";
}

/** The parcel that the warehouse wants. */
export interface WantedParcel {
  readonly lines?: readonly { readonly sku: string; readonly quantity: number }[] | undefined;
  readonly parcel?: Parcel | undefined;
  readonly service?: string | undefined;
}

/** The statuses in which an order may get a parcel: before all are shipped, and while one may get lost. */
function plannable(): readonly string[] {
  // Read late: a configuration file may have set the pipeline.
  const ships = lifecycle.stages.some(({ name }) => name === ship.name);
  const statuses = ships ? [lifecycle.statusBefore(ship), ship.to] : [];
  return statuses.filter((status) => !lifecycle.hasEnded(status));
}

/**
 * What the warehouse and operators do with an order's parcels. They write down what they want; a stage of the order does it
 * at the carrier, so that a carrier that is away keeps nobody waiting.
 */
export class Parcels {
  readonly #options: ParcelsOptions;
  readonly #books: Books;

  constructor(options: ParcelsOptions) {
    this.#options = options;
    this.#books = booksOf(options.database, options.provider.name);
  }

  /** An order's shipments, in their sequence. @throws {StorageError} */
  list(order: StoredOrder): Promise<Shipment[]> {
    return this.#books.show(order);
  }

  /** The shipment with this number; undefined if there is none. @throws {StorageError} */
  async find(order: StoredOrder, number: number): Promise<Shipment | undefined> {
    return (await this.#books.list(order)).find((each) => each.number === number);
  }

  /** Whether an order may get a parcel now, if any of its pieces are left. */
  mayPlan({ status, cancellation }: Pick<StoredOrder, "status" | "cancellation">): boolean {
    return plannable().includes(status) && cancellation === null;
  }

  /** Plans a parcel. @throws {ParcelRefusedError} {StorageError} */
  async plan(order: StoredOrder, { lines, parcel, service }: WantedParcel, actor: string): Promise<Shipment> {
    const { database, provider } = this.#options;
    const whileIn = plannable();
    const wanted = { lines, parcel: parcel ?? null, service: service ?? null, carrier: provider.name };
    const plan = { ...wanted, orderId: order.id, whileIn, actor };
    await this.#books.list(order);
    const planned = await planShipment(database, plan, order.lines).catch((error: unknown) => {
      if (error instanceof TooManyPiecesError) throw new ParcelRefusedError(error.message);
      throw error;
    });
    if (!("refused" in planned)) return this.#done(planned, actor);
    switch (planned.refused) {
      case "nothing left":
        throw new ParcelRefusedError("all pieces that need shipping are in parcels already");
      case "status":
        throw new ParcelRefusedError(
          planned.cancelled
            ? "the order is being cancelled"
            : `the order is ${planned.status}; parcels are planned from ${whileIn.join(" to ")}`,
        );
      case "no order":
        throw new ParcelRefusedError("there is no such order");
    }
  }

  /** Has a label bought for a planned parcel. Repeating it changes nothing. @throws {ParcelRefusedError} {StorageError} */
  book(order: Pick<StoredOrder, "status">, shipment: Shipment, actor: string): Promise<Shipment> {
    if (shipment.closedAt !== null) throw new ParcelRefusedError(`parcel ${shipment.number} was closed`);
    if (shipment.state === "VOIDED" || (shipment.voiding !== null && !mayBeBooked(shipment)))
      throw new ParcelRefusedError(`parcel ${shipment.number} was called off; plan another one`);
    if (!mayBeBooked(shipment)) return Promise.resolve(shipment);
    mustBeOnItsWay(order, shipment, "booked");
    const action = actionOn(shipment, "book", actor);
    const change = { bookRequestedAt: timestamp(), voiding: null, reason: null };
    return this.#change(shipment, { change, action }, actor, (now) => this.book(order, now, actor));
  }

  /**
   * Calls a parcel off. Its label is given back to the carrier. Repeating it changes nothing.
   *
   * @throws {ParcelRefusedError} {StorageError}
   */
  void(order: Pick<StoredOrder, "status">, shipment: Shipment, actor: string): Promise<Shipment> {
    const { number, state, voiding, closedAt } = shipment;
    if (state === "VOIDED") return Promise.resolve(shipment);
    mustBeOnItsWay(order, shipment, "called off");
    if (closedAt !== null)
      throw new ParcelRefusedError(`parcel ${number} was closed, and can no longer be called off`);
    if (voiding === "requested" || voiding === "pending") return Promise.resolve(shipment);
    if (!mayBeVoided(shipment))
      throw new ParcelRefusedError(`parcel ${number} is ${state}, and can no longer be called off`);
    const action = actionOn(shipment, "void", actor);
    const change = { voiding: "requested" as const };
    return this.#change(shipment, { change, action }, actor, (now) => this.void(order, now, actor));
  }

  /**
   * Settles a parcel that never arrives: nobody waits for it any more, and its pieces are not shipped again.
   *
   * @throws {ParcelRefusedError} {StorageError}
   */
  close(
    order: Pick<StoredOrder, "lines">,
    shipment: Shipment,
    reason: string,
    actor: string,
  ): Promise<Shipment> {
    const { number, state } = shipment;
    if (shipment.closedAt !== null) return Promise.resolve(shipment);
    if (!mayBeClosed(shipment))
      throw new ParcelRefusedError(
        `parcel ${number} is ${state}: only what was sent and does not arrive is closed`,
      );
    const change = { closedAt: timestamp(), reason };
    const action = actionOn(shipment, "close", actor, { reason });
    const update = {
      change,
      type: "shipment.closed" as const,
      actor,
      action,
      // A closed parcel holds its pieces, and no piece is in two.
      ...(!holdsPieces(shipment) && { unlessReplaced: order.lines }),
    };
    return this.#change(shipment, update, actor, (now) => this.close(order, now, reason, actor));
  }

  /**
   * Takes in a webhook of the carrier. It is only a nudge: it says which shipment to look at, and nothing that it says is
   * written down. So it does not matter how late, how often, or in which order they come. What was called off no stage may
   * look at any more, so its label, if there is one after all, is given back here.
   *
   * @throws {InvalidWebhookError} {NotYetDoneError} {StorageError}
   */
  async receive(
    body: Uint8Array,
    headers: Readonly<Record<string, string | readonly string[] | undefined>>,
  ): Promise<void> {
    const { provider, database, wake, log } = this.#options;
    if (!provider.parseWebhook)
      throw new InvalidWebhookError(`the carrier (${provider.name}) sends no webhooks`);
    const single = Object.fromEntries(
      Object.entries(headers).map(([name, value]) => [name, typeof value === "string" ? value : undefined]),
    );
    const subject = await provider.parseWebhook(body, single);
    const known = subject && (await nudgeShipment(database, subject.carrierId));
    if (!known) return;
    log.debug({ orderId: known.orderId, shipment: known.number }, "the carrier's webhook");
    if (known.state === "VOIDED") await this.#takeBack(known);
    await afterwards(() => wake(known.orderId));
  }

  /** @throws {NotYetDoneError} {StorageError} */
  async #takeBack(voided: Shipment): Promise<void> {
    const { provider, onEvents, log } = this.#options;
    const { orderId, number } = voided;
    const now = await takeBack(
      { provider, books: this.#books },
      voided,
      AbortSignal.timeout(WITHIN_MS),
    ).catch((error: unknown) => {
      if (error instanceof StorageError) throw error;
      log.warn({ orderId, shipment: number, error: describeError(error) }, "a label is not given back yet");
      throw new NotYetDoneError(
        `parcel ${number} was called off, and the carrier can't be asked for its label`,
      );
    });
    onEvents();
    if (now.voiding === "refused")
      log.warn({ orderId, shipment: number }, "the carrier does not take the label of a voided parcel back");
  }

  /** @param again decides anew on what the shipment has become meanwhile */
  async #change(
    shipment: Shipment,
    update: ShipmentUpdate,
    actor: string,
    again: (now: Shipment) => Promise<Shipment>,
  ): Promise<Shipment> {
    const given = { ...update, wakes: true as const, unlessAsked: true as const };
    const changed = await changeShipment(this.#options.database, shipment, given);
    if (changed === undefined) throw new ParcelRefusedError("there is no such parcel");
    if (changed.isReplaced)
      throw new ParcelRefusedError(`the pieces of parcel ${shipment.number} are shipped again`);
    return changed.changed ? this.#done(changed.shipment, actor) : again(changed.shipment);
  }

  async #done(shipment: Shipment, actor: string): Promise<Shipment> {
    const { onEvents, goOn, log } = this.#options;
    const { orderId } = shipment;
    onEvents();
    // The change says so too, so that the sweeper finds what this one misses.
    await goOn(orderId, STEPS, actor).catch((error: unknown) => {
      log.warn({ orderId, error: describeError(error) }, "changed, but not woken yet");
    });
    return shipment;
  }
}

/** @throws {ParcelRefusedError} once nothing becomes of the order's parcels any more. */
function mustBeOnItsWay({ status }: Pick<StoredOrder, "status">, { number }: Shipment, what: string): void {
  if (lifecycle.hasEnded(status))
    throw new ParcelRefusedError(`the order is ${status}: parcel ${number} can no longer be ${what}`);
}

/** The line in the operators' trail. */
function actionOn(
  { orderId, number }: Shipment,
  action: string,
  actor: string,
  details: { readonly reason?: string } = {},
): NonNullable<ShipmentUpdate["action"]> {
  return { actor, action, target: orderId, details: { parcel: number, ...details } };
}
