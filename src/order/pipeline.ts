import { deliver } from "./stages/deliver.ts";
import { pay } from "./stages/pay.ts";
import { reserve } from "./stages/reserve.ts";
import { ship } from "./stages/ship.ts";

/**
 * The business: the stages of an order, in order. Statuses, transitions, queues, workers, the board and the diagrams
 * derive from this table. A new stage is one new file and one more entry; orders in flight take it.
 */
export const PIPELINE = [
  reserve, //
  pay,
  ship,
  deliver,
] as const;
