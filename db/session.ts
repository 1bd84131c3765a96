import type { Connection, RowDataPacket } from "mysql2";
import { noteServerTime } from "../src/platform/clock.ts";
import { READ_CLOCK, timeIn } from "./fence.ts";

/** What the server at the other end of a connection is. */
export interface Session {
  /**
   * One node of a Galera cluster, which aborts a transaction at any time if another node's was faster. It does not always
   * tell if that happens between two statements of one packet: it answers OK to the rest, COMMIT included, and what comes
   * after the abort is committed by itself. So no two statements of a transaction may share a packet.
   */
  readonly isGalera: boolean;
}

const PLAIN: Session = { isGalera: false };

/**
 * Set on every new connection, to override the server's settings: UTC, errors for data that doesn't fit, a
 * short lock timeout, and READ COMMITTED, which locks rows but not the gaps between them.
 */
const SETTINGS = [
  `SET SESSION time_zone = '+00:00',
    sql_mode = 'STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO,ONLY_FULL_GROUP_BY,NO_ENGINE_SUBSTITUTION',
    innodb_lock_wait_timeout = 1`,
  "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
];

/** MariaDB's and Percona's; MySQL has no such variable. */
const IS_GALERA = "SHOW SESSION VARIABLES WHERE Variable_name = 'wsrep_on' AND Value = 'ON'";
/** Reads and transactions begin once this node has applied what others had committed by then. */
const CURRENT = "SET SESSION wsrep_sync_wait = 1";

/**
 * Prepares a new connection. Its other statements must wait for this.
 *
 * @param options `mayLag`: whether it may read what is somewhat old. @throws the driver's error: a connection in an unknown
 * session is destroyed.
 */
export async function prepareSession(
  connection: Connection,
  { mayLag }: { readonly mayLag: boolean },
): Promise<Session> {
  try {
    for (const statement of SETTINGS) await answerTo(connection, statement);
    const isGalera = (await answerTo(connection, IS_GALERA)).length > 0;
    // First: a node outside of its cluster says so, unless it is to be up to date.
    if (!mayLag) await readClock(connection);
    if (isGalera && !mayLag) await answerTo(connection, CURRENT);
    return isGalera ? { isGalera } : PLAIN;
  } catch (error) {
    connection.destroy();
    throw error;
  }
}

/** Before anything else, so that no process goes by a clock of its own that is wrong; nor by that of another server. */
async function readClock(connection: Connection): Promise<void> {
  const sentAt = performance.now();
  noteServerTime(timeIn(await answerTo(connection, READ_CLOCK)), sentAt);
}

function answerTo(connection: Connection, statement: string): Promise<RowDataPacket[]> {
  return new Promise((resolve, reject) => {
    connection.query<RowDataPacket[]>(statement, (error, rows) => {
      if (error) reject(error);
      else resolve(rows);
    });
  });
}
