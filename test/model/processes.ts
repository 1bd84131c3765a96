import { readInstallationId } from "../../db/identity.ts";
import { orderStore } from "../../db/order-store.ts";
import { Marker } from "../../queues/marker.ts";
import { BackgroundCalls } from "../../src/engine/background-calls.ts";
import { Cancellation } from "../../src/engine/cancellation.ts";
import { Intake } from "../../src/engine/intake.ts";
import { createLogger } from "../../src/platform/log.ts";
import { lifecycle, type Deadline } from "../../src/order/lifecycle.ts";
import type { Providers } from "../../src/order/ports.ts";
import { Executor, type ExecutorStore } from "../../src/engine/executor.ts";
import { httpCarrier } from "../../src/providers/http/carrier.ts";
import { httpPayments } from "../../src/providers/http/payments.ts";
import { PaymentDesk } from "../../src/providers/payments/desk.ts";
import { ShippingDesk } from "../../src/providers/shipping/desk.ts";
import { mysqlInventory } from "../../src/providers/inventory.ts";
import { BatchingStore } from "../../src/engine/batching-store.ts";
import { Sweeper } from "../../src/engine/sweeper.ts";
import { NO_PORTS } from "../support/orders.ts";
import type { TestEnvironment } from "../support/environment.ts";
import { UNDISPUTED } from "../../src/platform/lease.ts";
import { Process, type Calls } from "./calls.ts";
import type { MemoryQueue } from "./memory-queue.ts";
import { ScheduledDatabase, scheduledProviders, scheduledQueues } from "./services.ts";

/** Breaks the service on purpose, to see that it is noticed. */
export interface Sabotage {
  readonly providers?: (providers: Providers) => Providers;
  readonly store?: (store: ExecutorStore) => ExecutorStore;
}

/** What the processes of a service share. */
export interface Surroundings {
  readonly environment: TestEnvironment;
  readonly queue: MemoryQueue;
  readonly calls: Calls;
  readonly sabotage: Sabotage;
}

export interface Worker {
  readonly process: Process;
  readonly database: ScheduledDatabase;
  readonly executor: Pick<Executor, "execute">;
}

export interface Api {
  readonly process: Process;
  readonly intake: Intake;
  readonly cancellation: Cancellation;
}

const LOG = createLogger({ name: "model", level: "silent" });

/** What `src/composition/worker.ts` makes, without what takes jobs from BullMQ. */
export function startWorker(number: number, { environment, queue, calls, sabotage }: Surroundings): Worker {
  const process = new Process(`worker ${number}`);
  const database = new ScheduledDatabase(environment.database, calls, process);
  const providers: Providers = {
    inventory: mysqlInventory(environment.database),
    payments: httpPayments({ url: environment.providers.paymentsUrl }),
    carrier: httpCarrier({ url: environment.providers.carrierUrl }),
    httpStages: NO_PORTS.httpStages,
  };
  const { providers: broken = same, store: brokenStore = same } = sabotage;
  const scheduled = broken(scheduledProviders(providers, calls, process));
  const dispatcher = scheduledQueues(queue, calls, process);
  const executor = new Executor({
    lifecycle,
    ports: {
      ...scheduled,
      payments: new PaymentDesk({ provider: scheduled.payments, database }),
      carrier: new ShippingDesk({ provider: scheduled.carrier, inventory: scheduled.inventory, database }),
    },
    store: brokenStore(new BatchingStore({ store: orderStore(database) })),
  });
  return {
    process,
    database,
    executor: {
      async execute(orderId, ...rest) {
        const execution = await executor.execute(orderId, ...rest);
        if ("next" in execution && execution.next)
          await dispatcher.enqueue([{ orderId, transition: execution.next }]);
        return execution;
      },
    },
  };
}

/** What `src/composition/api.ts` makes, without HTTP. */
export function startApi({ environment, queue, calls }: Surroundings): Api {
  const process = new Process("api");
  const options = {
    store: orderStore(new ScheduledDatabase(environment.database, calls, process)),
    dispatcher: scheduledQueues(queue, calls, process),
    lifecycle,
    calls: new BackgroundCalls({ log: LOG }),
  };
  return { process, intake: new Intake(options), cancellation: new Cancellation(options) };
}

/** A sweeper that goes round when it is told to, and to which every order has not moved for long enough. */
export function startSweeper(
  { environment: { database, redis }, queue, calls }: Surroundings,
  deadlines: ReadonlyMap<string, Deadline>,
): Sweeper {
  return new Sweeper({
    store: orderStore(database),
    lease: UNDISPUTED,
    marker: new Marker(redis, () => readInstallationId(database)),
    dispatcher: scheduledQueues(queue, calls, new Process("sweeper", { single: true })),
    lifecycle,
    deadlines,
    log: LOG,
    intervalMs: 0,
    afterMs: -60_000,
  });
}

function same<T>(thing: T): T {
  return thing;
}
