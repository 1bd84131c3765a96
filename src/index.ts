/** What a configuration file, and stages and providers outside of this folder, import from "conveyor". */
export { defineConfig, type Configuration } from "./composition/configuration.ts";
export { httpStage, type HttpStageOptions } from "./order/http-stage.ts";
export type { Address, Order, OrderLine, StageRecord } from "./order/order.ts";
export type {
  AnnouncedParcel,
  CarrierProvider,
  CarrierRequest,
  Inventory,
  KnownPayment,
  NamedParcel,
  NamedPayment,
  PaymentProvider,
  Ports,
  ProviderPayment,
  ProviderPaymentRequest,
  ProviderRefund,
  ProviderRefundRequest,
  StockRequest,
  Voided,
  WebhookSubject,
} from "./order/ports.ts";
export {
  AlreadyUndoneError,
  InvalidWebhookError,
  NotNowError,
  RequestRefusedError,
  ServiceFailedError,
  ServiceMisconfiguredError,
  ServiceUnavailableError,
  UndecidedError,
  UndeliverableError,
  UndoRefusedError,
} from "./order/ports.ts";
export type { Label, Rate, Tracking } from "./order/shipment.ts";
export { defineStage, reject, snooze, wait, type Stage, type StageContext } from "./order/stage.ts";
export { deliver } from "./order/stages/deliver.ts";
export { pay } from "./order/stages/pay.ts";
export { reserve } from "./order/stages/reserve.ts";
export { ship } from "./order/stages/ship.ts";
