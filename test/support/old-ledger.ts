import { sql } from "drizzle-orm";
import type { Database } from "../../db/database.ts";

/** Orders in the books of {@link createOldLedger}. */
export const OLD_ENTRIES = {
  paid: "00000000-0000-7000-8000-000000000001",
  declined: "00000000-0000-7000-8000-000000000002",
  refunded: "00000000-0000-7000-8000-000000000003",
  voided: "00000000-0000-7000-8000-000000000004",
  called: "00000000-0000-7000-8000-000000000005",
  shipped: "00000000-0000-7000-8000-000000000006",
} as const;

/**
 * Makes the tables in which version 0.1.0 kept the books and states of the providers that it simulated, with the entries of
 * two orders that were paid and labelled, one that was declined, one that was refunded, one whose label was voided, and one
 * that was called off before it was paid.
 */
export async function createOldLedger(database: Database): Promise<void> {
  const { paid, declined, refunded, voided, called, shipped } = OLD_ENTRIES;
  const at = "2026-11-01 12:00:00.123";
  const statements = [
    sql`CREATE TABLE provider_ledger (
      idempotency_key varchar(128) NOT NULL,
      kind varchar(16) NOT NULL,
      order_id char(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
      amount bigint NOT NULL,
      currency char(3),
      outcome varchar(16) NOT NULL,
      reason varchar(500),
      provider_id varchar(64) NOT NULL,
      attempts int NOT NULL,
      created_at datetime(3) NOT NULL,
      PRIMARY KEY (idempotency_key),
      INDEX provider_ledger_by_order (order_id)
    ) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin`,
    sql`CREATE TABLE IF NOT EXISTS provider_states (
      provider varchar(32) NOT NULL,
      state varchar(16) NOT NULL,
      since datetime(3) NOT NULL,
      PRIMARY KEY (provider)
    ) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin`,
    sql`INSERT IGNORE INTO provider_states VALUES ('carrier', 'slow 200', ${at})`,
    sql`INSERT INTO provider_ledger VALUES
      (${`${paid}:pay`}, 'charge', ${paid}, 2500, 'EUR', 'approved', NULL, 'ch_old', 2, ${at}),
      (${`${paid}:ship`}, 'label', ${paid}, 0, NULL, 'approved', NULL, 'CVOLD-1', 1, ${at}),
      (${`${shipped}:pay`}, 'charge', ${shipped}, 2500, 'EUR', 'approved', NULL, 'ch_older', 1, ${at}),
      (${`${shipped}:ship`}, 'label', ${shipped}, 0, NULL, 'approved', NULL, 'CVOLD-3', 1, ${at}),
      (${`${declined}:pay`}, 'charge', ${declined}, 2500, 'EUR', 'declined', 'the card was declined', 'ch_no', 1, ${at}),
      (${`${refunded}:pay`}, 'charge', ${refunded}, 2500, 'EUR', 'approved', NULL, 'ch_back', 1, ${at}),
      (${`${refunded}:pay:undo`}, 'refund', ${refunded}, 2500, 'EUR', 'approved', NULL, 're_old', 1, ${at}),
      (${`${voided}:ship`}, 'label', ${voided}, 0, NULL, 'approved', NULL, 'CVOLD-2', 1, ${at}),
      (${`${voided}:ship:undo`}, 'label-void', ${voided}, 0, NULL, 'approved', NULL, '', 1, ${at}),
      (${`${called}:pay`}, 'charge', ${called}, 0, NULL, 'void', NULL, '', 0, ${at})`,
  ];
  for (const statement of statements) await database.transaction((queries) => queries.execute(statement));
}
