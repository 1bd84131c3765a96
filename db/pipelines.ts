import { createHash } from "node:crypto";
import { desc, sql } from "drizzle-orm";
import { z } from "zod";
import type { Outline } from "../src/order/outline.ts";
import type { Database } from "./database.ts";
import { pipelines } from "./schema.ts";

/** A pipeline gives way to an older one once none of its processes was seen for this long. Seconds. */
const GONE_S = 60;
/** How often it is written down that a pipeline's processes run. Seconds. */
const SEEN_EVERY_S = 10;

const outline = z.array(
  z.object({ name: z.string(), to: z.string(), undo: z.boolean(), pointOfNoReturn: z.boolean() }),
);

/** The pipeline in force, as a process with its own sees it. */
export interface InForce {
  readonly stages: Outline;
  /** Whether the process's own is to be in force from now on: it is new here, or no process of the other one runs. */
  readonly isSuperseded: boolean;
}

/** Reads the pipeline in force; undefined if there never was one. @throws {DatabaseError} */
export async function readPipeline(database: Database, own: Outline): Promise<InForce | undefined> {
  const rows = await database.query((queries) =>
    queries
      .select({
        fingerprint: pipelines.fingerprint,
        stages: pipelines.stages,
        isGone: sql<number>`${pipelines.seenAt} < NOW(3) - INTERVAL ${sql.raw(String(GONE_S))} SECOND`,
      })
      .from(pipelines)
      .orderBy(desc(pipelines.setAt)),
  );
  const [newest] = rows;
  if (newest === undefined) return undefined;
  const { fingerprint } = identify(own);
  const isKnown = rows.some((row) => row.fingerprint === fingerprint);
  const isSuperseded = newest.fingerprint !== fingerprint && (!isKnown || newest.isGone === 1);
  return { stages: outline.parse(JSON.parse(newest.stages)), isSuperseded };
}

/** Puts a pipeline in force. @throws {DatabaseError} */
export async function setPipeline(database: Database, own: Outline): Promise<void> {
  const { fingerprint, stages } = identify(own);
  await database.query((queries) =>
    queries.execute(sql`
      INSERT INTO ${pipelines} (fingerprint, stages, set_at, seen_at) VALUES (${fingerprint}, ${stages}, NOW(3), NOW(3))
      ON DUPLICATE KEY UPDATE set_at = NOW(3), seen_at = NOW(3)`),
  );
}

/** Notes that a process with this pipeline runs. Writes at most every ten seconds. @throws {DatabaseError} */
export async function notePipeline(database: Database, own: Outline): Promise<void> {
  await database.query((queries) =>
    queries.execute(sql`
      UPDATE ${pipelines} SET seen_at = NOW(3) WHERE fingerprint = ${identify(own).fingerprint}
      AND seen_at < NOW(3) - INTERVAL ${sql.raw(String(SEEN_EVERY_S))} SECOND`),
  );
}

function identify(own: Outline) {
  const stages = JSON.stringify(own);
  return { stages, fingerprint: createHash("sha256").update(stages).digest("hex") };
}
