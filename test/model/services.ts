import { Database } from "../../db/database.ts";
import type { Reads, Transaction } from "../../db/queries.ts";
import { DatabaseError } from "../../db/errors.ts";
import type { Dispatcher, DueJob } from "../../src/engine/ports.ts";
import {
  ServiceUnavailableError,
  type CarrierProvider,
  type Providers,
  type ServiceName,
} from "../../src/order/ports.ts";
import type { CallOptions, Calls, Process } from "./calls.ts";

/** MySQL as a process sees it: each query and each transaction is a call, with its effect or without. */
export class ScheduledDatabase extends Database {
  readonly #real: Database;
  readonly #calls: Calls;
  readonly #process: Process;

  constructor(real: Database, calls: Calls, process: Process) {
    // Connections are opened on demand, and there is none.
    super({ url: "mysql://nobody@localhost/nothing" });
    this.#real = real;
    this.#calls = calls;
    this.#process = process;
  }

  override query<T>(work: (queries: Reads) => Promise<T>): Promise<T> {
    return this.#calls.make(this.#options(), () => this.#real.query(work));
  }

  override transaction<T>(work: (queries: Transaction) => Promise<T>): Promise<T> {
    return this.#calls.make(this.#options(), () => this.#real.transaction(work));
  }

  #options(): CallOptions {
    return {
      process: this.#process,
      name: `mysql: ${whereInDb()}`,
      outlivesProcess: false,
      failure: (fate) =>
        fate === "refused"
          ? new DatabaseError("ER_LOCK_DEADLOCK", 1213)
          : new DatabaseError("PROTOCOL_CONNECTION_LOST", undefined),
    };
  }
}

/** Where in db/ the statements stand, for people. */
function whereInDb(): string {
  return /db\/[\w-]+\.ts:\d+/.exec(new Error("here").stack ?? "")?.[0] ?? "somewhere";
}

/** Redis as a process sees it. */
export function scheduledQueues(queues: Dispatcher, calls: Calls, process: Process): Dispatcher {
  const call = <T>(name: string, due: readonly DueJob[], work: () => Promise<T>): Promise<T> => {
    const options: CallOptions = {
      process,
      name: `redis: ${name} ${due.map(({ transition }) => `${transition.from}-${transition.to}`).join(", ")}`,
      outlivesProcess: false,
      failure: () => new Error("Redis is away"),
    };
    return due.length === 0 ? work() : calls.make(options, work);
  };
  return {
    enqueue: (due) => call("enqueue", due, () => queues.enqueue(due)),
    revive: (due) => call("revive", due, () => queues.revive(due)),
    replace: (replacements) => {
      const due = replacements.map(({ job, by }) => by ?? job);
      return call("replace by", due, () => queues.replace(replacements));
    },
  };
}

type Parcel = NonNullable<Awaited<ReturnType<CarrierProvider["find"]>>>;

/** What the carrier of a world knows, by our own name: its provider keeps keys, and never has to look a parcel up. */
const parcelsIn = new WeakMap<Calls, Map<string, Parcel>>();

/** The outside world as a worker sees it. A request that was sent arrives, whatever became of its sender. */
export function scheduledProviders(providers: Providers, calls: Calls, process: Process): Providers {
  const asked = new Set<string>();
  const call = <T>(service: ServiceName, name: string, work: () => Promise<T>): Promise<T> => {
    const options: CallOptions = {
      process,
      name: `${service}: ${name}`,
      outlivesProcess: true,
      failure: (fate) => new ServiceUnavailableError(service, fate),
    };
    return calls.make(options, work);
  };
  const { inventory, payments, carrier } = providers;
  const parcels = parcelsIn.get(calls) ?? new Map<string, Parcel>();
  parcelsIn.set(calls, parcels);
  return {
    ...providers,
    inventory: {
      ping: (signal) => inventory.ping(signal),
      move: (operation, request) => call("inventory", operation, () => inventory.move(operation, request)),
      release: (request) => call("inventory", "release", () => inventory.release(request)),
    },
    payments: {
      name: payments.name,
      ping: (signal) => payments.ping(signal),
      authorize: (request) => call("payments", "authorize", () => payments.authorize(request)),
      capture: (request) => call("payments", "capture", () => payments.capture(request)),
      cancel: (request) => call("payments", "cancel", () => payments.cancel(request)),
      find: (request) => call("payments", "find", () => payments.find(request)),
      refund: (request) => call("payments", "refund", () => payments.refund(request)),
      findRefund: (request) => call("payments", "findRefund", () => payments.findRefund(request)),
    },
    carrier: {
      ping: (signal) => carrier.ping(signal),
      name: carrier.name,
      create: (request) =>
        call("carrier", "create", async () => {
          const announced = await carrier.create(request);
          parcels.set(request.reference, { ...announced, label: null });
          return announced;
        }),
      buy: (request) =>
        call("carrier", "buy", async () => {
          const label = await carrier.buy(request);
          parcels.set(request.reference, { carrierId: request.carrierId, rates: null, label });
          return label;
        }),
      void: (request) => call("carrier", "void", () => carrier.void(request)),
      find: (request) => call("carrier", "find", async () => parcels.get(request.reference)),
      track: (request) =>
        call("carrier", "track", async () => {
          const tracking = await carrier.track(request);
          // Who asks for the first time is told to wait.
          if (asked.has(request.orderId)) return tracking;
          asked.add(request.orderId);
          return { ...tracking, state: "BOOKED", askAgainIn: 1_000 };
        }),
    },
  };
}
