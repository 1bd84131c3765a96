import type { Connection } from "../../queues/connection.ts";
import type { Database } from "../../db/database.ts";
import { operatorStore } from "../../db/operator-store.ts";
import { orderStore } from "../../db/order-store.ts";
import { listQueueSettings } from "../../db/queue-settings.ts";
import { restoreControls } from "../../queues/controls.ts";
import { promoteJob } from "../../queues/job-status.ts";
import type { Queues } from "../../queues/queues.ts";
import type { BackgroundCalls } from "../engine/background-calls.ts";
import type { Cancellation } from "../engine/cancellation.ts";
import { FailureGroups } from "../engine/failure-groups.ts";
import { Operations } from "../engine/operations.ts";
import type { Dispatcher } from "../engine/ports.ts";
import { Waking } from "../engine/waking.ts";
import { lifecycle } from "../order/lifecycle.ts";
import type { Commit } from "../platform/group-commit.ts";
import type { Logger } from "../platform/log.ts";

export interface OperationsGiven {
  readonly database: Database;
  readonly dispatcher: Dispatcher;
  readonly cancellation: Cancellation;
  readonly calls: BackgroundCalls;
  readonly commit?: Commit;
  readonly log: Logger;
  readonly onEvents?: (() => void) | undefined;
  readonly queues?: { readonly queues: Queues; readonly redis: Connection };
}

export interface OpenOperations {
  readonly operations: Operations;
  readonly failureGroups: FailureGroups;
  readonly waking: Waking;
}

/** Builds the operators' actions, over MySQL and, if there is one, Redis. */
export function openOperations(given: OperationsGiven): OpenOperations {
  const { database, dispatcher, cancellation, calls, commit, log, onEvents, queues } = given;
  const store = { ...orderStore(database), ...operatorStore(database) };
  const waking = new Waking({ store, dispatcher, lifecycle, ...(commit && { commit }), calls });
  const operations = new Operations({
    store,
    dispatcher,
    cancellation,
    waking,
    lifecycle,
    calls,
    log,
    onEvents,
    promote: queues && ((orderId, transition) => promoteJob(queues.queues, orderId, transition)),
    applySettings:
      queues && (async () => void (await restoreControls(queues, await listQueueSettings(database)))),
  });
  return { operations, waking, failureGroups: new FailureGroups({ store, operations, cancellation, log }) };
}
