import type { NewAction } from "../src/engine/ports.ts";
import type { EventType } from "../src/order/event.ts";
import { isSame } from "../src/order/amendment.ts";
import { cancelledPieces, type Address, type OrderLine } from "../src/order/order.ts";
import { areFree, fromStock, hasSamePieces, takePieces, unplanned } from "../src/order/pieces.ts";
import { SHIPMENT_STATES, type Shipment, type ShipmentChange } from "../src/order/shipment.ts";
import { mayBecome, statesBefore } from "../src/order/states.ts";
import { timestamp } from "../src/platform/clock.ts";
import { keepRefunded } from "./called-off-pieces.ts";
import { countCancelled, withCancelled } from "./cancelled-pieces.ts";
import type { Database } from "./database.ts";
import { DatabaseError } from "./errors.ts";
import { insertAction } from "./operator-actions.ts";
import { insertEvents } from "./order-events.ts";
import { laterThan, lockOrders } from "./order-states.ts";
import type { Reads, Statement } from "./queries.ts";
import { shortened } from "./reason.ts";
import { lockWarehouse, type StockMove } from "./reservations.ts";
import { orders, shipments } from "./schema.ts";
import { EVENT_OF_STATE, shipmentEvent } from "./shipment-events.ts";
import { assignmentsOf, insertInto, read, selectFrom, selectsFrom } from "./statements.ts";

/* The shipments below orders. */

/** What a label and its tracking say. What the warehouse has asked for meanwhile stays. The state comes last. */
const SAID_BY_CARRIER = [
  "carrierId",
  "service",
  "cost",
  "trackingNumber",
  "trackingUrl",
  "labelUrl",
  "expectedAt",
  "reason",
  "askedAt",
  "updatedAt",
  "state",
] as const satisfies readonly (keyof Shipment)[];

const KEYS = [
  "orderId",
  "number",
  "lines",
  "parcel",
  "carrier",
  "bookRequestedAt",
  "voiding",
  "nudgedAt",
  "closedAt",
  "createdAt",
  ...SAID_BY_CARRIER,
] as const satisfies readonly (keyof Shipment)[];

const insertRows = insertInto(shipments, KEYS);
const insertOrChange = insertInto(shipments, KEYS, changeIfAllowed());
const { read: selectRows, lock: selectLocked } = selectsFrom(
  shipments,
  KEYS,
  "WHERE order_id IN (?) ORDER BY order_id, number",
);
const selectShipTo = selectFrom(orders, ["shipTo"], "WHERE id = ?");
const selectByCarrierId = selectFrom(shipments, KEYS, "WHERE carrier_id = ?");

/** Orders' shipments, by order and number. @throws {DatabaseError} */
export async function listShipments(database: Database, orderIds: readonly string[]): Promise<Shipment[]> {
  return database.query((queries) => readShipments(queries, orderIds));
}

/** The same, within a transaction. */
export async function readShipments(queries: Reads, orderIds: readonly string[]): Promise<Shipment[]> {
  return orderIds.length === 0 ? [] : read(queries, selectRows(orderIds));
}

/**
 * Notes that the carrier has news of the shipment with this id there. It changes nothing that others read before, so it never
 * comes too late. @returns the shipment as it is then; undefined if there is none. @throws {DatabaseError}
 */
export async function nudgeShipment(database: Database, carrierId: string): Promise<Shipment | undefined> {
  const [shipment] = await database.query((queries) => read(queries, selectByCarrierId(carrierId)));
  if (shipment === undefined) return undefined;
  const nudgedAt = laterThan(shipment.nudgedAt, timestamp());
  await database.transaction((transaction) => transaction.commit([updateRow(shipment, { nudgedAt })]));
  return { ...shipment, nudgedAt };
}

/**
 * Writes orders' first shipments down, unless they have one; in batches.
 *
 * @returns the shipments as they are then, in the same sequence. @throws {DatabaseError}
 */
export async function openShipments(database: Database, wanted: readonly Shipment[]): Promise<Shipment[]> {
  try {
    // Nearly always all are new, so existing ones are looked up only after a duplicate.
    await database.transaction((transaction) => transaction.commit([insertRows(wanted)]));
    return [...wanted];
  } catch (error) {
    if (!(error instanceof DatabaseError && error.isDuplicateKey)) throw error;
  }
  return database.transaction(async (transaction) => {
    const rows = await read(transaction, selectLocked(wanted.map(({ orderId }) => orderId)));
    const known = new Map(rows.map((row) => [nameOf(row), row]));
    const fresh = new Map<string, Shipment>();
    for (const each of wanted) if (!known.has(nameOf(each))) fresh.set(nameOf(each), each);
    await transaction.commit(fresh.size > 0 ? [insertRows([...fresh.values()])] : []);
    return wanted.map((each) => known.get(nameOf(each)) ?? fresh.get(nameOf(each)) ?? each);
  });
}

/** What the warehouse wants to ship. */
export interface ShipmentPlan {
  readonly orderId: string;
  /** Pieces by SKU, taken from the order's lines in their order; all that is left if absent. */
  readonly lines?: readonly { readonly sku: string; readonly quantity: number }[] | undefined;
  readonly parcel: Shipment["parcel"];
  readonly service: string | null;
  readonly carrier: string;
  /** The statuses in which an order may get a parcel. */
  readonly whileIn: readonly string[];
  readonly actor: string | null;
}

/** Why nothing was planned. */
export type PlanRefusal =
  | { readonly refused: "no order" }
  | { readonly refused: "status"; readonly status: string; readonly cancelled: boolean }
  | { readonly refused: "nothing left" };

/**
 * Plans a shipment. The order is locked, so that no piece gets into two, whatever comes at once.
 *
 * @throws {TooManyPiecesError} {DatabaseError}
 */
export async function planShipment(
  database: Database,
  plan: ShipmentPlan,
  lines: readonly OrderLine[],
): Promise<Shipment | PlanRefusal> {
  return database.transaction(async (transaction) => {
    const order = (await lockOrders(transaction, [plan.orderId])).get(plan.orderId);
    if (order === undefined) return { refused: "no order" };
    const cancelled = order.cancelRequestedAt !== null;
    if (cancelled || !plan.whileIn.includes(order.status))
      return { refused: "status", status: order.status, cancelled };
    const known = await read(transaction, selectLocked([plan.orderId]));
    const current = order.changedAt === null ? lines : await withCancelled(transaction, plan.orderId, lines);
    const left = unplanned(current, known);
    const pieces = plan.lines === undefined ? left : takePieces(left, plan.lines);
    if (pieces.length === 0) return { refused: "nothing left" };
    const now = timestamp();
    const shipment: Shipment = {
      ...newShipment(
        { orderId: plan.orderId, number: known.length + 1, lines: pieces, carrier: plan.carrier },
        now,
      ),
      parcel: plan.parcel,
      service: plan.service,
    };
    await transaction.commit([
      insertRows([shipment]),
      ...insertEvents([shipmentEvent(shipment, order.status, { actor: plan.actor })]),
      wake(order, now),
      // A worker that has read the order before may be about to ship all of it.
      markChanged(order, now),
    ]);
    return shipment;
  });
}

/** A shipment that nobody has asked a label for. */
export function newShipment(
  given: Pick<Shipment, "orderId" | "number" | "lines" | "carrier">,
  at: Date,
): Shipment {
  return {
    ...given,
    state: "PLANNED",
    parcel: null,
    carrierId: null,
    service: null,
    cost: null,
    trackingNumber: null,
    trackingUrl: null,
    labelUrl: null,
    expectedAt: null,
    bookRequestedAt: null,
    voiding: null,
    reason: null,
    askedAt: null,
    nudgedAt: null,
    closedAt: null,
    createdAt: at,
    updatedAt: at,
  };
}

/** The goods that leave the stock with a shipment, or come back with it. */
export interface StockChange {
  readonly direction: "out" | "back";
  /** Its pieces, and all lines of the order. */
  readonly pieces: readonly OrderLine[];
  readonly lines: readonly OrderLine[];
}

/** For pieces that the order has reserved, and for those that are sent once more. */
const OPERATIONS = {
  out: { reserved: "dispatch", again: "sendAgain" },
  back: { reserved: "takeBack", again: "restock" },
} as const;

/** What has become of a change. */
export interface ChangedShipment {
  readonly shipment: Shipment;
  readonly changed: boolean;
  /** SKUs without enough stock, because of which nothing changed. */
  readonly soldOut?: readonly string[];
  /** Its pieces are in another parcel, because of which nothing changed. */
  readonly isReplaced?: true;
  /** Refunded pieces of it are not sent again: who has read the order's lines before does not know. */
  readonly keepsRefunded?: boolean;
}

/** How a shipment changes. */
export interface ShipmentUpdate {
  readonly change: Partial<Omit<Shipment, "orderId" | "number" | "createdAt" | "updatedAt">>;
  /** Told instead of the event of the new state. */
  readonly type?: EventType | undefined;
  readonly actor?: string | null | undefined;
  /** Recorded with it: an operator's action that no event tells yet. */
  readonly action?: NewAction | undefined;
  /** Whether the order's stage has to look at it. */
  readonly wakes?: true | undefined;
  /** Whether it is decided on what others have asked for: nothing changes if that is no longer as it was read. */
  readonly unlessAsked?: true | undefined;
  /** Whether the carrier was asked since it was read: then the news of which it had told by then are taken in. */
  readonly heard?: true | undefined;
  /** The address that the carrier was told: nothing changes if the order ships to another one by now. */
  readonly shipTo?: Address | null | undefined;
  /** All lines of the order, as the carrier was told of them: nothing changes if pieces of them were cancelled since. */
  readonly unlessCancelled?: readonly OrderLine[] | undefined;
  /** All lines of the order: nothing changes if its pieces are in another parcel by now, which replaces it. */
  readonly unlessReplaced?: readonly OrderLine[] | undefined;
  /** What the stock loses or gets back with it; none if it is kept elsewhere. */
  readonly stock?: StockChange | undefined;
}

/**
 * Changes a shipment that still has the state and the id at its carrier with which it was read, and writes the event, if there is one.
 *
 * @returns the shipment as it is then, and whether it was changed; undefined if there is none.
 * @throws {InvalidMoveError} {DatabaseError}
 */
export async function changeShipment(
  database: Database,
  known: Shipment,
  { change: wanted, type, actor = null, action, wakes, heard, ...given }: ShipmentUpdate,
): Promise<ChangedShipment | undefined> {
  const { orderId, number, state, carrierId } = known;
  const { unlessAsked, unlessReplaced, unlessCancelled, shipTo, stock } = given;
  return database.transaction(
    async (transaction) => {
      const to = wanted.state ?? state;
      const moved = stock && stock.pieces.length > 0 ? stock : undefined;
      // Stock is locked before orders, and orders before what is below them.
      const isCalledOff = to === "VOIDED" && state !== "VOIDED";
      const touched = isCalledOff ? known.lines.map((line) => ({ ...line, unitPrice: 0 })) : moved?.pieces;
      const warehouse =
        touched && (await lockWarehouse(transaction, [{ orderId, operation: "dispatch", lines: touched }]));
      const order = (await lockOrders(transaction, [orderId])).get(orderId);
      const rows = await read(transaction, selectLocked([orderId]));
      const row = rows.find((each) => each.number === number);
      if (row === undefined || order === undefined) return undefined;
      const isAllowed = to === state || mayBecome(SHIPMENT_STATES, state, to);
      const isAsked =
        unlessAsked &&
        (row.voiding !== known.voiding ||
          row.closedAt?.getTime() !== known.closedAt?.getTime() ||
          row.bookRequestedAt?.getTime() !== known.bookRequestedAt?.getTime());
      const [address] = shipTo === undefined ? [] : await read(transaction, selectShipTo(orderId));
      const isElsewhere = shipTo !== undefined && !isSame(address?.shipTo ?? null, shipTo);
      if (row.state !== state || row.carrierId !== carrierId || !isAllowed || isAsked || isElsewhere)
        return { shipment: row, changed: false };
      // Whoever read the order before it was changed may not know of all that is not shipped.
      const asRead = moved?.lines ?? unlessCancelled;
      if (asRead && order.changedAt !== null) {
        const cancelled = await countCancelled(transaction, [orderId]);
        if (cancelled.get(orderId) !== cancelledPieces(asRead)) return { shipment: row, changed: false };
      }
      const others = rows.filter((each) => each !== row);
      if (unlessReplaced && !areFree(unlessReplaced, row.lines, others))
        return { shipment: row, changed: false, isReplaced: true };
      for (const move of moved ? movesOf(orderId, moved, others) : []) {
        const made = warehouse?.make(move);
        if (made?.ok === false) return { shipment: row, changed: false, soldOut: made.soldOut };
      }
      const kept = isCalledOff ? await keepRefunded(transaction, order, row, others) : undefined;
      for (const move of kept?.moves ?? []) warehouse?.make(move);
      const change = {
        ...wanted,
        ...(wanted.reason && { reason: shortened(wanted.reason) }),
        // News that have come meanwhile stay, whatever the clocks say of those who are told and those who ask.
        ...(heard && row.nudgedAt?.getTime() === known.nudgedAt?.getTime() && { nudgedAt: null }),
      };
      const now: Shipment = { ...row, ...change, updatedAt: timestamp() };
      const told = type ?? (to === state ? undefined : EVENT_OF_STATE[to]);
      await transaction.commit([
        updateRow(row, { ...change, updatedAt: now.updatedAt }),
        ...(told ? insertEvents([shipmentEvent(now, order.status, { type: told, actor })]) : []),
        ...(warehouse?.writes() ?? []),
        ...(kept?.writes ?? []),
        ...(action ? [insertAction(action)] : []),
        ...(wakes ? [wake(order, now.updatedAt)] : []),
        // A worker presumed dead may be about to ship the order with it.
        ...(isCalledOff && state === "PLANNED" ? [markChanged(order, now.updatedAt)] : []),
      ]);
      return { shipment: now, changed: true, keepsRefunded: (kept?.writes.length ?? 0) > 0 };
    },
    { lockWaits: 1 },
  );
}

/** Decided under the order's lock, so that it fits what other parcels have taken and brought back. */
function movesOf(
  orderId: string,
  { direction, pieces, lines }: StockChange,
  others: readonly Shipment[],
): StockMove[] {
  const { reserved, again } = fromStock(lines, pieces, others);
  const { reserved: usual, again: more } = OPERATIONS[direction];
  return [
    { orderId, operation: usual, lines: reserved },
    { orderId, operation: more, lines: again },
  ].filter((move) => move.lines.length > 0);
}

/** The orders, which are locked, one of whose shipments has other pieces by now than its change, or can't change so. */
export async function ordersWithOthers(
  queries: Reads,
  changes: readonly ShipmentChange[],
): Promise<ReadonlySet<string>> {
  const rows = new Map(
    (changes.length === 0
      ? []
      : await read(queries, selectLocked(changes.map(({ orderId }) => orderId)))
    ).map((row) => [nameOf(row), row]),
  );
  const differing = changes.filter((change) => {
    const row = rows.get(nameOf(change));
    return row && !(mayBecome(SHIPMENT_STATES, row.state, change.state) && hasSamePieces(row, change));
  });
  return new Set(differing.map(({ orderId }) => orderId));
}

/** What changes of shipments come to, for the transaction that moves their orders. */
export function writeShipments(changes: readonly ShipmentChange[]): Statement[] {
  if (changes.length === 0) return [];
  return [insertOrChange(changes.map((change) => ({ ...change, createdAt: change.updatedAt })))];
}

/**
 * Says of shipments that could not be written that there is news of them, so that the stage looks at them once more: the label of
 * one that was called off meanwhile is to be given back.
 */
export function tellOf(changes: readonly ShipmentChange[]): Statement[] {
  return changes.map((change) => updateRow(change, { nudgedAt: timestamp() }));
}

/** So that whoever has read the order before looks at its parcels once more, instead of writing what is no longer true. */
function markChanged({ id, changedAt }: { readonly id: string; readonly changedAt: Date | null }, at: Date) {
  return { sql: "UPDATE orders SET changed_at = ? WHERE id = ?", values: [laterThan(changedAt, at), id] };
}

/** So that a stage that was asked before does not wait for what has happened, and the sweeper finds the order. */
function wake({ id, wokenAt }: { readonly id: string; readonly wokenAt: Date | null }, at: Date): Statement {
  return { sql: "UPDATE orders SET woken_at = ? WHERE id = ?", values: [laterThan(wokenAt, at), id] };
}

function updateRow({ orderId, number }: ShipmentChange, change: Partial<Shipment>): Statement {
  const { sql, values } = assignmentsOf(shipments, change);
  return {
    sql: `UPDATE shipments SET ${sql} WHERE order_id = ? AND number = ?`,
    values: [...values, orderId, number],
  };
}

/** `UPDATE` of a duplicate, if its state may become the new one: booked or delivered. */
function changeIfAllowed(): string {
  const allowed = ["BOOKED", "DELIVERED"]
    .map((to) => {
      const from = statesBefore(SHIPMENT_STATES, to).map((state) => `'${state}'`);
      return `(VALUES(state) = '${to}' AND shipments.state IN (${from.join(", ")}))`;
    })
    .join(" OR ");
  return SAID_BY_CARRIER.map((key) => shipments[key].name)
    .map((name) => `\`${name}\` = IF(${allowed}, VALUES(\`${name}\`), shipments.\`${name}\`)`)
    .join(", ");
}

function nameOf({ orderId, number }: Pick<Shipment, "orderId" | "number">): string {
  return `${orderId} ${number}`;
}
