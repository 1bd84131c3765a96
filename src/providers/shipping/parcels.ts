import type { Database } from "../../../db/database.ts";
import { changeShipment, nudgeShipment, planShipment, type ShipmentUpdate } from "../../../db/shipments.ts";
import { lifecycle } from "../../order/lifecycle.ts";
import type { StoredOrder } from "../../order/order.ts";
import { TooManyPiecesError } from "../../order/pieces.ts";
import { InvalidWebhookError, type CarrierProvider } from "../../order/ports.ts";
import {
  hasLeft,
  holdsPieces,
  mayBeBooked,
  mayBeClosed,
  mayBeVoided,
  type Parcel,
  type Shipment,
} from "../../order/shipment.ts";
import { ship } from "../../order/stages/ship.ts";
import { timestamp } from "../../platform/clock.ts";
import { describeError } from "../../platform/describe-error.ts";
import type { Logger } from "../../platform/log.ts";
import { afterwards } from "../../platform/storage-error.ts";
import { booksOf, type Books } from "./books.ts";

export interface ParcelsOptions {
  readonly database: Database;
  readonly provider: Pick<CarrierProvider, "name" | "parseWebhook">;
  /** Has the order's stage look at its parcels. */
  readonly wake: (orderId: string) => Promise<unknown>;
  /** Called after events are written. */
  readonly onEvents: () => void;
  readonly log: Logger;
}

/** What is asked for does not fit what the shipment, or its order, is. */
export class ParcelRefusedError extends Error {
  override name = "ParcelRefusedError";
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
  return ships ? [lifecycle.statusBefore(ship), ship.to] : [];
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
    if (!("refused" in planned)) return this.#done(planned);
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
  book(shipment: Shipment, actor: string): Promise<Shipment> {
    if (shipment.closedAt !== null) throw new ParcelRefusedError(`parcel ${shipment.number} was closed`);
    if (shipment.state === "VOIDED" || (shipment.voiding !== null && !mayBeBooked(shipment)))
      throw new ParcelRefusedError(`parcel ${shipment.number} was called off; plan another one`);
    if (hasLeft(shipment)) return Promise.resolve(shipment);
    if (!mayBeBooked(shipment)) return Promise.resolve(shipment);
    const action = actionOn(shipment, "book", actor);
    const change = { bookRequestedAt: timestamp(), voiding: null };
    return this.#change(shipment, { change, action }, (now) => this.book(now, actor));
  }

  /** Calls a parcel off. Its label is given back to the carrier. @throws {ParcelRefusedError} {StorageError} */
  void(shipment: Shipment, actor: string): Promise<Shipment> {
    const { number, state, voiding } = shipment;
    if (state === "VOIDED" || voiding === "requested" || voiding === "pending")
      return Promise.resolve(shipment);
    if (!mayBeVoided(shipment))
      throw new ParcelRefusedError(`parcel ${number} is ${state}, and can no longer be called off`);
    const action = actionOn(shipment, "void", actor);
    const change = { voiding: "requested" as const };
    return this.#change(shipment, { change, action }, (now) => this.void(now, actor));
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
    return this.#change(shipment, update, (now) => this.close(order, now, reason, actor));
  }

  /**
   * Takes in a webhook of the carrier. It is only a nudge: it says which shipment to look at, and nothing that it says is
   * written down. So it does not matter how late, how often, or in which order they come.
   *
   * @throws {InvalidWebhookError} {StorageError}
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
    await afterwards(() => wake(known.orderId));
  }

  /** @param again decides anew on what the shipment has become meanwhile */
  async #change(
    shipment: Shipment,
    update: ShipmentUpdate,
    again: (now: Shipment) => Promise<Shipment>,
  ): Promise<Shipment> {
    const given = { ...update, wakes: true as const, unlessAsked: true as const };
    const changed = await changeShipment(this.#options.database, shipment, given);
    if (changed === undefined) throw new ParcelRefusedError("there is no such parcel");
    if (changed.isReplaced)
      throw new ParcelRefusedError(`the pieces of parcel ${shipment.number} are shipped again`);
    return changed.changed ? this.#done(changed.shipment) : again(changed.shipment);
  }

  async #done(shipment: Shipment): Promise<Shipment> {
    const { onEvents, wake, log } = this.#options;
    const { orderId } = shipment;
    onEvents();
    // The change says so too, so that the sweeper finds what this one misses.
    await wake(orderId).catch((error: unknown) => {
      log.warn({ orderId, error: describeError(error) }, "changed, but not woken yet");
    });
    return shipment;
  }
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
