import type { Order } from "../order/order.ts";
import { PIPELINE } from "../order/pipeline.ts";
import type { Stage, StageContext } from "../order/stage.ts";
import { copyOf } from "../platform/copy.ts";
import { stageShape } from "./config-checks.ts";

/* Stages from a configuration file. */

export function isStage(value: unknown): value is Stage {
  return stageShape.safeParse(value).success;
}

/**
 * The stage with an order of its own, unless it is one of Conveyor's: what somebody else's changes there would change what
 * later stages do in the same process, and what is written down.
 */
export function ownOrder(stage: Stage): Stage {
  if (PIPELINE.some((own) => own === stage)) return stage;
  const { name, to, http, stock, pointOfNoReturn, settings } = stage;
  const own = (context: StageContext) => ({ ...context, waited: copyOf(context.waited) });
  return {
    name,
    to,
    ...(http && { http }),
    ...(stock && { stock }),
    ...(pointOfNoReturn && { pointOfNoReturn }),
    ...(settings && { settings }),
    run: async (order, context) => stage.run(copyOf(order), own(context)),
    ...(stage.undo && {
      undo: async (order: Order, context: StageContext) => stage.undo?.(copyOf(order), own(context)),
    }),
    ...(stage.stands && {
      stands: async (order: Order, context: StageContext) =>
        (await stage.stands?.(copyOf(order), own(context))) === true,
    }),
  };
}

/** For an entry that is wrong, so that what is wrong between it and others shows too: what is right of it. */
export function standIn(entry: unknown, index: number): Stage {
  const { name, to, url, secret } = isObject(entry) ? entry : {};
  return {
    name: typeof name === "string" ? name : `entry-${index}`,
    to: typeof to === "string" ? to : `ENTRY_${index}`,
    ...(typeof url === "string" && { http: { url, ...(typeof secret === "string" && { secret }) } }),
    run: () => Promise.reject(new Error("it stands in for a stage that is wrong")),
  };
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
