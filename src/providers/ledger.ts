import type { Database } from "../../db/database.ts";
import { failureKindOf } from "../platform/storage-error.ts";
import { bookRequests, ledgerLocks, type LedgerEntry, type LedgerRequest } from "../../db/provider-ledger.ts";
import { grouped, type Commit, type Committer } from "../platform/group-commit.ts";

/** The simulated providers' ledger. Concurrent requests share a transaction. */
export type Ledger = Pick<Committer<LedgerRequest, LedgerEntry>, "submit">;

export function openLedger(database: Database, commit: Commit = grouped): Ledger {
  return commit({
    name: "ledger",
    flush: (requests) => bookRequests(database, requests),
    kindOf: failureKindOf,
    locks: ledgerLocks(database),
  });
}
