import { notePipeline, readPipeline, setPipeline } from "../../db/pipelines.ts";
import { Rollout } from "../engine/rollout.ts";
import { lifecycle } from "../order/lifecycle.ts";
import type { Base } from "./base.ts";

/** Builds what keeps this process to the pipeline in force. */
export function openRollout({ database, log }: Pick<Base, "database" | "log">): Rollout {
  const own = lifecycle.outline;
  const see = async () => {
    const found = await readPipeline(database, own);
    if (found === undefined || found.isSuperseded) {
      await setPipeline(database, own);
      return own;
    }
    await notePipeline(database, own);
    return found.stages;
  };
  return new Rollout({ lifecycle, see, log });
}
