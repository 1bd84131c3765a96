import type { OrderStore } from "../src/engine/ports.ts";
import { requestCancellation, requestCancellations } from "./cancellations.ts";
import type { Database } from "./database.ts";
import { clearFailed, markFailed } from "./failures.ts";
import { createOrders, newOrderLocks } from "./new-orders.ts";
import { appendFailedAttempts } from "./order-events.ts";
import { listStates } from "./order-states.ts";
import { findOrders } from "./orders.ts";
import { applyTransitions, transitionLocks } from "./transitions.ts";
import { markWaiting, wakeOrders } from "./waits.ts";

/** Implements the engine's order store with this database. */
export function orderStore(database: Database): OrderStore {
  return {
    createOrders: (orders) => createOrders(database, orders),
    newOrderLocks: newOrderLocks(database),
    findOrders: (ids, known) => findOrders(database, ids, known),
    applyTransitions: (transitions, beforeCommit) => applyTransitions(database, transitions, beforeCommit),
    transitionLocks: transitionLocks(database),
    requestCancellation: (request, action) => requestCancellation(database, request, action),
    requestCancellations: (request) => requestCancellations(database, request),
    markWaiting: (waits) => markWaiting(database, waits),
    wakeOrders: (ids) => wakeOrders(database, ids),
    markFailed: (failure) => markFailed(database, failure),
    clearFailed: (orderId) => clearFailed(database, orderId),
    appendFailedAttempts: (attempts) => appendFailedAttempts(database, attempts),
    listStates: (page) => listStates(database, page),
  };
}
