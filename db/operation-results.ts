import { and, asc, eq, isNull } from "drizzle-orm";
import { timestamp } from "../src/platform/clock.ts";
import type { SentResult } from "../src/order/ports.ts";
import type { Database } from "./database.ts";
import { lockOrders } from "./order-states.ts";
import { operationResults } from "./schema.ts";

/* Results of HTTP stages that came by callback. The newest that decides counts; the others count once. */

interface Of {
  readonly orderId: string;
  readonly stage: string;
}

/**
 * Stores the first result that comes under a nonce, if the order has one of these statuses or waits in the stage, and is not
 * to be cancelled.
 *
 * @returns the result that is stored, perhaps by an earlier call; "over" if there is none. @throws {DatabaseError}
 */
export async function storeResult(
  database: Database,
  {
    whileIn,
    ...given
  }: Of & { readonly nonce: string; readonly whileIn: readonly string[]; readonly result: SentResult },
): Promise<SentResult | "over"> {
  const { orderId, stage, nonce, result } = given;
  return database.transaction(
    async (queries) => {
      // Whoever comes second waits here.
      const order = (await lockOrders(queries, [orderId])).get(orderId);
      const [known] = await queries
        .select({ result: operationResults.result })
        .from(operationResults)
        .where(and(isOf({ orderId, stage }), eq(operationResults.nonce, nonce)));
      if (known) return known.result;
      const isAhead = order && (whileIn.includes(order.status) || order.waitingStage === stage);
      if (!isAhead || order.cancelRequestedAt !== null) return "over";
      await queries.commit([queries.insert(operationResults).values({ ...given, receivedAt: timestamp() })]);
      return result;
    },
    { lockWaits: 1 },
  );
}

/** The results that have come for a stage of an order, oldest first. @throws {DatabaseError} */
export async function findResults(
  database: Database,
  of: Of,
): Promise<{ readonly result: SentResult; readonly takenAt: Date | null }[]> {
  return database.query((queries) =>
    queries
      .select({ result: operationResults.result, takenAt: operationResults.takenAt })
      .from(operationResults)
      .where(isOf(of))
      .orderBy(asc(operationResults.receivedAt)),
  );
}

/** Notes that the results so far were used. @throws {DatabaseError} */
export async function takeResult(database: Database, of: Of): Promise<void> {
  await database.transaction(async (queries) =>
    queries.commit([
      queries
        .update(operationResults)
        .set({ takenAt: timestamp() })
        .where(and(isOf(of), isNull(operationResults.takenAt))),
    ]),
  );
}

function isOf({ orderId, stage }: Of) {
  return and(eq(operationResults.orderId, orderId), eq(operationResults.stage, stage));
}
