import type { NewAction } from "../src/engine/ports.ts";
import { NotAmendableError, tooLate, type Amendable, type Amendment } from "../src/order/amendment.ts";
import type { Hold } from "../src/order/order.ts";
import type { Database } from "./database.ts";
import { insertAction } from "./operator-actions.ts";
import { insertEvents } from "./order-events.ts";
import { laterThan } from "./order-states.ts";
import { shortened } from "./reason.ts";
import { orders, shipments, type StoredHold } from "./schema.ts";
import { assignmentsOf, read, selectFrom } from "./statements.ts";

const selectLocked = selectFrom(
  orders,
  ["status", "customer", "shipTo", "billTo", "metadata", "note", "holds", "changedAt", "wokenAt"],
  "WHERE id = ? FOR UPDATE",
);

/** Parcels that the carrier knows, with an address, and whose labels may be bought at any moment. */
const selectAnnounced = selectFrom(
  shipments,
  ["number"],
  "WHERE order_id = ? AND state = 'PLANNED' AND carrier_id IS NOT NULL FOR UPDATE",
);

/** Parcels that are to be sent, or whose pieces may be sent again. */
const selectToBeSent = selectFrom(
  shipments,
  ["number"],
  "WHERE order_id = ? AND closed_at IS NULL AND state IN ('PLANNED', 'RETURNED', 'LOST', 'VOIDED') LIMIT 1",
);

/** Implements `OperatorStore.amendOrder`. @throws {DatabaseError} and what `decide` throws */
export async function amendOrder(
  database: Database,
  orderId: string,
  decide: (order: Amendable) => Amendment | undefined,
  by: { readonly actor: string; readonly at: Date; readonly action?: NewAction },
): Promise<Amendment | "unchanged" | undefined> {
  return database.transaction(async (queries) => {
    const [row] = await read(queries, selectLocked(orderId));
    if (row === undefined) return undefined;
    const amendment = decide({ ...row, holds: holdsOf(row) });
    if (amendment === undefined) return "unchanged";
    if (amendment.ifToBeSent && (await read(queries, selectToBeSent(orderId))).length === 0)
      throw tooLate(row);
    const { holds, ...fields } = amendment.set;
    if (fields.shipTo !== undefined) {
      const [announced] = await read(queries, selectAnnounced(orderId));
      if (announced)
        throw new NotAmendableError(
          "booked",
          `the label of parcel ${announced.number} is being bought for the address; call the parcel off first`,
        );
    }
    const { sql, values } = assignmentsOf(orders, {
      ...fields,
      ...(holds && { holds: holds.length === 0 ? null : holds.map(storedHold) }),
      changedAt: laterThan(row.changedAt, by.at),
      // A stage that was asked before must not wait for what has happened. Deadlines count from when it goes on.
      ...(amendment.wakes && { wokenAt: laterThan(row.wokenAt, by.at) }),
      ...(holds?.length === 0 && { dueFrom: by.at }),
    });
    const { type, reason, record } = amendment.event;
    await queries.commit([
      { sql: `UPDATE orders SET ${sql} WHERE id = ?`, values: [...values, orderId] },
      ...insertEvents([
        {
          orderId,
          type,
          from: row.status,
          to: row.status,
          stage: null,
          reason: reason === null ? null : shortened(reason),
          record,
          at: by.at,
          actor: by.actor,
        },
      ]),
      ...(by.action ? [insertAction(by.action)] : []),
    ]);
    return amendment;
  });
}

/** The holds of an order, read from its row. */
export function holdsOf({ holds }: { readonly holds: readonly StoredHold[] | null }): readonly Hold[] {
  return (holds ?? []).map(({ name, reason, at, actor }) => ({ name, reason, at: new Date(at), actor }));
}

function storedHold(hold: Hold): StoredHold {
  return { ...hold, at: hold.at.toISOString() };
}
