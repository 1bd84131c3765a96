/** What a configuration file, and stages and providers outside of this folder, import from "conveyor". */
export { defineConfig, type Configuration } from "./composition/configuration.ts";
export { httpStage, type HttpStageOptions } from "./order/http-stage.ts";
export type { Order, OrderLine, StageRecord } from "./order/order.ts";
export type { Carrier, Inventory, PaymentProvider, Ports } from "./order/ports.ts";
export {
  AlreadyUndoneError,
  NotNowError,
  RequestRefusedError,
  ServiceMisconfiguredError,
  ServiceUnavailableError,
} from "./order/ports.ts";
export { defineStage, reject, snooze, wait, type Stage, type StageContext } from "./order/stage.ts";
export { deliver } from "./order/stages/deliver.ts";
export { pay } from "./order/stages/pay.ts";
export { reserve } from "./order/stages/reserve.ts";
export { ship } from "./order/stages/ship.ts";
