import { deliver } from "./stages/deliver.ts";
import { pay } from "./stages/pay.ts";
import { reserve } from "./stages/reserve.ts";
import { ship } from "./stages/ship.ts";

/**
 * The pipeline: the stages of an order, in sequence. Statuses, transitions, queues, workers, the board and the
 * diagrams derive from this table. To add a stage, add a file and an entry here; orders in flight go through it
 * too.
 */
export const PIPELINE = [
  reserve, //
  pay,
  ship,
  deliver,
] as const;
