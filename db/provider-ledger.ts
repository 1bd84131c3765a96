import { asc, eq, sql } from "drizzle-orm";
import { execute, insertInto, read, selectFrom } from "./statements.ts";
import { UnexpectedCountError, type Database } from "./database.ts";
import type { Queries } from "./queries.ts";
import type { Locks } from "../src/platform/contention.ts";
import { rowLocks } from "./row-locks.ts";
import { providerLedger, type LedgerKind } from "./schema.ts";

/** A request to a simulated provider, however often it was repeated. */
export type LedgerEntry = Readonly<typeof providerLedger.$inferSelect>;

export type LedgerDecision = Pick<LedgerEntry, "outcome" | "reason">;

/** A request, new or repeated, and how the provider decides while it is undecided. */
export interface LedgerRequest extends Omit<LedgerEntry, "outcome" | "reason" | "attempts"> {
  readonly decide: (asked: Pick<LedgerEntry, "attempts" | "createdAt">) => LedgerDecision;
}

/** A reversal, booked under its own key. */
export interface LedgerReversal extends Pick<
  LedgerEntry,
  "idempotencyKey" | "kind" | "orderId" | "providerId" | "createdAt"
> {
  readonly reversedKey: string;
  readonly reversedKind: LedgerKind;
}

const KEYS = [
  "idempotencyKey",
  "kind",
  "orderId",
  "amount",
  "currency",
  "outcome",
  "reason",
  "providerId",
  "attempts",
  "createdAt",
] as const;
const countAttempts = insertInto(providerLedger, KEYS, "attempts = attempts + 1");
const lockRows = selectFrom(
  providerLedger,
  KEYS,
  "WHERE idempotency_key IN (?) ORDER BY idempotency_key FOR UPDATE",
);

/**
 * Books requests under their idempotency keys: a new one is decided and recorded; a known one counts another attempt and
 * keeps its decision. @throws {DatabaseError}
 */
export async function bookRequests(
  database: Database,
  requests: readonly LedgerRequest[],
): Promise<LedgerEntry[]> {
  const asked = requests.map(({ decide, ...request }) => ({
    ...request,
    ...decide({ attempts: 1, createdAt: request.createdAt }),
    attempts: 1,
  }));
  const inOrder = asked.toSorted((a, b) => (a.idempotencyKey < b.idempotencyKey ? -1 : 1));
  try {
    return await database.transaction(
      async (transaction) => {
        // MySQL counts a new row as one and a known one as two: exactly this many if all are new.
        await transaction.commit([{ ...countAttempts(inOrder), mustAffect: asked.length }]);
        return asked;
      },
      { lockWaits: 1 },
    );
  } catch (error) {
    if (!(error instanceof UnexpectedCountError)) throw error;
    return database.transaction(
      async (queries) => {
        await execute(queries, countAttempts(inOrder));
        return decideAgain(queries, requests);
      },
      { lockWaits: 1 },
    );
  }
}

/** Requests lock the rows of their idempotency keys. */
export function ledgerLocks(database: Database): Locks<LedgerRequest> {
  const locks = rowLocks(database, {
    entry: { table: providerLedger, column: providerLedger.idempotencyKey },
  });
  return { ...locks, keysOf: ({ idempotencyKey }) => [locks.key("entry", idempotencyKey)] };
}

/** Decides known requests that are still pending. */
async function decideAgain(queries: Queries, requests: readonly LedgerRequest[]): Promise<LedgerEntry[]> {
  const entries = await lockEntries(
    queries,
    requests.map((request) => request.idempotencyKey),
  );
  return Promise.all(
    requests.map(async ({ idempotencyKey, decide }) => {
      const entry = entries.get(idempotencyKey);
      if (entry === undefined) throw new Error(`the ledger has no entry ${idempotencyKey}`);
      if (entry.outcome !== "pending" || entry.attempts === 1) return entry;
      const decision = decide(entry);
      if (decision.outcome !== "pending") await decideEntry(queries, idempotencyKey, decision);
      return { ...entry, ...decision };
    }),
  );
}

/**
 * Reverses the request `reversedKey`: if it was approved, books the reversal once, under its own key, and returns it;
 * otherwise ensures that the request is never approved, and returns undefined. @throws {DatabaseError}
 */
export async function bookReversal(
  database: Database,
  reversal: LedgerReversal,
): Promise<LedgerEntry | undefined> {
  const { reversedKey, reversedKind, ...own } = reversal;
  return database.transaction(async (queries) => {
    await queries
      .insert(providerLedger)
      .values({
        ...own,
        idempotencyKey: reversedKey,
        kind: reversedKind,
        providerId: "",
        amount: 0,
        outcome: "void",
        attempts: 0,
      })
      .onDuplicateKeyUpdate({ set: { idempotencyKey: reversedKey } });
    const reversed = (await lockEntries(queries, [reversedKey])).get(reversedKey);
    if (reversed?.outcome !== "approved") {
      if (reversed?.outcome === "pending") {
        await decideEntry(queries, reversedKey, { outcome: "void", reason: null });
      }
      return undefined;
    }
    const { amount, currency } = reversed;
    await queries
      .insert(providerLedger)
      .values({ ...own, amount, currency, outcome: "approved", attempts: 1 })
      .onDuplicateKeyUpdate({ set: { attempts: sql`${providerLedger.attempts} + 1` } });
    return (await lockEntries(queries, [own.idempotencyKey])).get(own.idempotencyKey);
  });
}

/** All provider requests for an order, oldest first. @throws {DatabaseError} */
export async function listEntries(database: Database, orderId: string): Promise<LedgerEntry[]> {
  return database.query((queries) =>
    queries
      .select()
      .from(providerLedger)
      .where(eq(providerLedger.orderId, orderId))
      .orderBy(asc(providerLedger.createdAt)),
  );
}

async function lockEntries(queries: Queries, keys: readonly string[]): Promise<Map<string, LedgerEntry>> {
  const rows = await read(queries, lockRows(keys));
  return new Map(rows.map((row) => [row.idempotencyKey, row]));
}

async function decideEntry(queries: Queries, key: string, decision: LedgerDecision): Promise<void> {
  await queries.update(providerLedger).set(decision).where(eq(providerLedger.idempotencyKey, key));
}
