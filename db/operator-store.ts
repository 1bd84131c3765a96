import type { OperatorStore } from "../src/engine/ports.ts";
import type { Database } from "./database.ts";
import { amendOrder } from "./amendments.ts";
import { countStage, listFailed, resumeOrders } from "./failures.ts";
import { recordAction, updateAction } from "./operator-actions.ts";
import { changeQueueSettings } from "./queue-settings.ts";

/** Implements the engine's store of operators' actions with this database. */
export function operatorStore(database: Database): OperatorStore {
  return {
    recordAction: (action) => recordAction(database, action),
    updateAction: (id, progress) => updateAction(database, id, progress),
    listFailed: (group, page) => listFailed(database, group, page),
    countFailed: (stage, limit) => countStage(database, stage, limit),
    resumeOrders: (ids, actor, action) => resumeOrders(database, ids, actor, action),
    amendOrder: (orderId, decide, by) => amendOrder(database, orderId, decide, by),
    changeQueue: (step, change, action) => changeQueueSettings(database, step, change, action),
  };
}
