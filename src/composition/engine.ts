import { BackgroundCalls } from "../engine/background-calls.ts";
import { BatchingStore } from "../engine/batching-store.ts";
import { Cancellation } from "../engine/cancellation.ts";
import type { CrashPoint } from "../engine/crash-points.ts";
import { Executor } from "../engine/executor.ts";
import { Intake } from "../engine/intake.ts";
import type { CreatedOrder, Dispatcher, JobMarker } from "../engine/ports.ts";
import type { Rollout } from "../engine/rollout.ts";
import type { Breakers } from "../engine/stage-runner.ts";
import { Sweeper, type SweepObserver } from "../engine/sweeper.ts";
import { Withdrawals } from "../engine/withdrawals.ts";
import { lifecycle } from "../order/lifecycle.ts";
import type { NewOrder } from "../order/order.ts";
import type { Ports } from "../order/ports.ts";
import { pay } from "../order/stages/pay.ts";
import type { Lease } from "../platform/lease.ts";
import { opened, type Service } from "../platform/service.ts";
import type { Base } from "./base.ts";
import type { ApiConfig, StagesConfig } from "./config.ts";
import { openOperations, type OpenOperations, type OperationsGiven } from "./operations.ts";

/** Builds the executor. */
export function openExecutor(
  { store, commit }: Pick<Base, "store" | "commit">,
  options: {
    readonly ports: Ports;
    readonly onEvents: () => void;
    readonly breakers?: Breakers;
    readonly rollout?: Rollout;
    readonly crashHook?: ((point: CrashPoint, step: string) => void) | undefined;
  },
): Executor {
  const { ports, onEvents, breakers, rollout, crashHook } = options;
  return new Executor({
    lifecycle,
    ports,
    store: new BatchingStore({ store, commit, lifecycle, crashHook, onEvents }),
    ...(breakers && { breakers }),
    mayTake: rollout?.mayTake,
    crashHook,
  });
}

/** Builds the sweeper. */
export function openSweeper(
  config: StagesConfig,
  { store, log }: Base,
  options: {
    readonly dispatcher: Dispatcher;
    readonly lease?: Lease;
    readonly marker?: JobMarker;
    readonly observer: SweepObserver;
  },
): Sweeper {
  const { dispatcher, lease, marker, observer } = options;
  return new Sweeper({
    store,
    dispatcher,
    lease,
    marker,
    lifecycle,
    deadlines: lifecycle.deadlines({ [pay.name]: config.PAYMENT_DEADLINE }),
    observer,
    log,
    intervalMs: config.SWEEP_INTERVAL_MS,
    afterMs: config.SWEEP_AFTER_MS,
  });
}

/** Intake and operators' actions. */
export interface OpenIntake {
  readonly app: { readonly accept: (order: NewOrder) => Promise<CreatedOrder> } & OpenOperations;
  readonly services: readonly Service[];
}

/** Builds the intake and the operators' actions. */
export function openIntake(
  config: ApiConfig,
  { database, store, commit, tracing, log }: Base,
  options: Pick<OperationsGiven, "dispatcher" | "onEvents" | "queues">,
): OpenIntake {
  const { dispatcher, onEvents } = options;
  const calls = new BackgroundCalls({ log });
  const cancellation = new Cancellation({ store, dispatcher, lifecycle, calls, onEvents });
  const actions = openOperations({ ...options, database, cancellation, calls, commit, log });
  const withdrawals = new Withdrawals({
    cancel: (orderId, reason) => cancellation.request(orderId, reason),
    afterMs: config.DATABASE_TIMEOUT_MS,
    log,
  });
  const withdraw = (orderId: string) => withdrawals.add(orderId);
  const intake = new Intake({ store, dispatcher, lifecycle, commit, calls, onEvents, withdraw });
  return {
    app: { accept: tracing.accept((order) => intake.accept(order)), ...actions },
    services: [
      opened("calls to the dispatcher", () => calls.stop()),
      opened("withdrawals", () => withdrawals.stop()),
      opened("intake", () => intake.idle()),
    ],
  };
}
