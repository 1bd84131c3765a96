import { randomUUID } from "node:crypto";
import type { Providers } from "../../src/order/ports.ts";
import type { ExecutorStore } from "../../src/engine/executor.ts";
import type { Sabotage } from "./processes.ts";

/** Faults that the service could have, and what is noticed of them. */
export const SABOTAGES: readonly {
  readonly fault: string;
  readonly sabotage: Sabotage;
  readonly noticed: RegExp;
}[] = [
  {
    fault: "the status is changed whatever it is by now",
    sabotage: store((real) => ({
      applyTransition: async (transition) => {
        const order = await real.load(transition.orderId);
        return real.applyTransition({ ...transition, from: order?.status ?? transition.from });
      },
    })),
    noticed: /: null>CREATED /,
  },
  {
    fault: "an order goes past the point of no return though it is to be cancelled",
    sabotage: store((real) => ({
      applyTransition: (transition) => real.applyTransition({ ...transition, unlessCancelled: false }),
    })),
    noticed: /was to be cancelled and is SHIPPED/,
  },
  {
    fault: "each charge has a new key",
    sabotage: providers(({ payments }) => ({
      payments: {
        ...payments,
        find: async () => undefined,
        authorize: (request) => payments.authorize({ ...request, key: randomUUID() }),
      },
    })),
    // A payment that stumbles first stumbles anew under each key.
    noticed: /was charged \d times|is CANCELLED, with 1 charges, 0 refunds|#\d+ has not ended: RESERVED/,
  },
  {
    fault: "each refund has a new key",
    sabotage: providers(({ payments }) => ({
      payments: {
        ...payments,
        findRefund: async () => undefined,
        refund: (request) => payments.refund({ ...request, key: randomUUID() }),
      },
    })),
    noticed: /the charge was refunded under another key|no more than 0 of the charge can be refunded/,
  },
  {
    fault: "what is sold out is promised",
    sabotage: store((real) => ({
      applyTransition: async (transition) => {
        const result = await real.applyTransition(transition);
        if (!result.soldOut) return result;
        return real.applyTransition({ ...transition, stock: undefined });
      },
    })),
    noticed: /is RESERVED, .* goods are undefined/,
  },
];

function providers(change: (real: Providers) => Partial<Providers>): Sabotage {
  return { providers: (real) => ({ ...real, ...change(real) }) };
}

function store(change: (real: ExecutorStore) => Partial<ExecutorStore>): Sabotage {
  return {
    store: (real) => ({
      load: (orderId) => real.load(orderId),
      applyTransition: (transition) => real.applyTransition(transition),
      requestCancellation: (request) => real.requestCancellation(request),
      markWaiting: (wait) => real.markWaiting(wait),
      clearFailed: (orderId) => real.clearFailed(orderId),
      ...change(real),
    }),
  };
}
