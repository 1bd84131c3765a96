import type { Database } from "../../db/database.ts";
import { listStatuses } from "../../db/order-states.ts";
import { notePipeline, readPipeline, setPipeline, type InForce } from "../../db/pipelines.ts";
import { Rollout } from "../engine/rollout.ts";
import { lifecycle } from "../order/lifecycle.ts";
import { movedStages, outlineOf, type Outline } from "../order/outline.ts";
import { StartupError } from "../platform/startup.ts";
import type { Base } from "./base.ts";
import type { WorkerConfig } from "./config.ts";

export type RolloutConfig = Pick<WorkerConfig, "PIPELINE_SET_BY">;

/** Builds what keeps this process to the pipeline in force. */
export function openRollout(
  config: RolloutConfig,
  { database, log }: Pick<Base, "database" | "log">,
): Rollout {
  const { stages } = lifecycle;
  const own = outlineOf(stages);
  const see = async () => {
    const found = await findPipeline(config, database);
    if (found === undefined || (found.isSuperseded && !(await faultOfMoves(database, found.stages)))) {
      await setPipeline(database, own);
      return own;
    }
    await notePipeline(database, own);
    return found.stages;
  };
  return new Rollout({ stages, see, log });
}

/** The pipeline in force, and whether this process is to put its own in force; undefined if there never was one. */
export async function findPipeline(
  { PIPELINE_SET_BY }: RolloutConfig,
  database: Database,
): Promise<InForce | undefined> {
  const found = await readPipeline(database, outlineOf(lifecycle.stages));
  return found && { ...found, isSuperseded: found.isSuperseded && PIPELINE_SET_BY === "start" };
}

/** Puts this process's pipeline in force, for `npm run migrate`. @throws {StartupError} {DatabaseError} */
export async function putPipelineInForce(database: Database): Promise<void> {
  const own = outlineOf(lifecycle.stages);
  const former = await readPipeline(database, own);
  const fault = former && (await faultOfMoves(database, former.stages));
  if (fault) throw new StartupError(fault);
  await setPipeline(database, own);
}

/** Why this process's pipeline can't follow a former one: orders would skip stages, or go through them again. */
export async function faultOfMoves(database: Database, former: Outline): Promise<string | undefined> {
  const moved = movedStages(former, outlineOf(lifecycle.stages));
  if (moved === undefined) return undefined;
  const statuses = (await listStatuses(database)).filter((status) => moved.statuses.includes(status));
  if (statuses.length === 0) return undefined;
  const harm = [
    moved.skipped.length > 0 && `skip ${moved.skipped.join(", ")}`,
    moved.repeated.length > 0 && `go through ${moved.repeated.join(", ")} again`,
  ];
  return (
    `the pipeline has stages in another sequence than the one in force, so that orders could ${harm.filter(Boolean).join(" or ")}: ` +
    `keep the sequence for as long as there are orders in ${statuses.join(", ")}`
  );
}
