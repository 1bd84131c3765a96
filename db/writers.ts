import type { RowDataPacket } from "mysql2";
import { setTimeout as delay } from "node:timers/promises";
import type { Database } from "./database.ts";

/** Connections to compare. */
const CONNECTIONS = 4;
/** A proxy that is just leading everybody to another server needs less. Milliseconds. */
const PAUSE_MS = 2_000;

/** Of a Galera node, an id of its own; of a MySQL with group replication, whether all of the group take writes. */
const NODE = "SHOW GLOBAL STATUS WHERE Variable_name = 'wsrep_gcomm_uuid'";
const GROUP =
  "SHOW GLOBAL VARIABLES WHERE Variable_name = 'group_replication_single_primary_mode' AND Value = 'OFF'";

/**
 * Whether connections lead to several nodes of a cluster that all take writes. Each numbers events by itself, and none knows
 * what is about to be committed on another. So nobody who follows the event log could know what is still to come before an
 * event (see {@link EventLog}).
 *
 * Processes that are each led to another node are not noticed. @throws {DatabaseError}
 */
export async function hasSeveralWriters(database: Database): Promise<boolean> {
  const [group] = await rows(database, GROUP);
  if (group !== undefined) return true;
  return (await leadsToSeveral(database)) && (await delay(PAUSE_MS).then(() => leadsToSeveral(database)));
}

async function leadsToSeveral(database: Database): Promise<boolean> {
  // At the same time, so that each has a connection of its own.
  const asked = await Promise.all(Array.from({ length: CONNECTIONS }, () => rows(database, NODE)));
  return new Set(asked.map(([node]) => node?.["Value"])).size > 1;
}

async function rows(database: Database, statement: string): Promise<RowDataPacket[]> {
  const [found] = await database.query((queries) => queries.$client.query<RowDataPacket[]>(statement));
  return found;
}
