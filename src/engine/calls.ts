import { serviceOfStage, type Providers, type ServiceName } from "../order/ports.ts";

/*
 * Which services an attempt calls. A stage may end without any: an order with nothing to ship says nothing of the carrier, and
 * need not wait for it.
 */

/** Told of each call before it is made; refuses it by throwing. */
export type OnCall = (service: ServiceName) => void;

/** Who is told, by the signal of the attempt. */
const listeners = new WeakMap<AbortSignal, OnCall>();

/** Runs work and tells of the services that are called with this signal. */
export async function tellingCalls<T>(
  signal: AbortSignal,
  onCall: OnCall,
  work: () => Promise<T>,
): Promise<T> {
  listeners.set(signal, onCall);
  try {
    return await work();
  } finally {
    listeners.delete(signal);
  }
}

/** Has {@link tellingCalls} told of each call of these providers, but for pings. */
export function toldOf({ inventory, payments, carrier, httpStages }: Providers): Providers {
  return {
    inventory: {
      ...inventory,
      ping: (signal) => inventory.ping(signal),
      move: (operation, request) => told("inventory", request, () => inventory.move(operation, request)),
      release: (request) => told("inventory", request, () => inventory.release(request)),
    },
    payments: {
      ...payments,
      authorize: (request) => told("payments", request, () => payments.authorize(request)),
      capture: (request) => told("payments", request, () => payments.capture(request)),
      cancel: (request) => told("payments", request, () => payments.cancel(request)),
      find: (request) => told("payments", request, () => payments.find(request)),
      refund: (request) => told("payments", request, () => payments.refund(request)),
      findRefund: (request) => told("payments", request, () => payments.findRefund(request)),
      ...(payments.disputeOf && {
        disputeOf: (request) => told("payments", request, async () => payments.disputeOf?.(request)),
      }),
    },
    carrier: {
      ...carrier,
      create: (request) => told("carrier", request, () => carrier.create(request)),
      buy: (request) => told("carrier", request, () => carrier.buy(request)),
      void: (request) => told("carrier", request, () => carrier.void(request)),
      track: (request) => told("carrier", request, () => carrier.track(request)),
      find: (request) => told("carrier", request, () => carrier.find(request)),
    },
    httpStages: {
      ping: (stage, signal) => httpStages.ping(stage, signal),
      call: (request) => told(serviceOfStage(request.stage), request, () => httpStages.call(request)),
    },
  };
}

async function told<T>(
  service: ServiceName,
  { signal }: { readonly signal: AbortSignal },
  call: () => Promise<T>,
): Promise<T> {
  listeners.get(signal)?.(service);
  return call();
}
