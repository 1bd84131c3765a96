import { mayBeOneItem } from "../db/errors.ts";
import type { Database } from "../db/database.ts";
import {
  changeStatuses,
  clearFailed,
  findOrders,
  requestCancellation,
  type StatusChange,
} from "../db/orders.ts";
import type { DueJob, Queues } from "../queues/queues.ts";
import { GroupCommit, withoutResults } from "../src/group-commit.ts";
import { CANCEL } from "../src/order/lifecycle.ts";
import type { StoredOrder } from "../src/order/order.ts";
import type { ExecutorStore } from "./executor.ts";

/** What many jobs want at the same moment is one statement, one transaction, one round trip. */
export class GroupedStore implements ExecutorStore {
  readonly #database: Database;
  readonly #loads: GroupCommit<string, StoredOrder | undefined>;
  readonly #changes: GroupCommit<StatusChange, boolean>;
  readonly #jobs: GroupCommit<DueJob, void>;

  constructor(
    database: Database,
    queues: Pick<Queues, "enqueue">,
    /** Told of the step of every change that is written and not committed yet. */
    reach?: (point: "during batch", step: string) => void,
  ) {
    this.#database = database;
    this.#loads = new GroupCommit({ flush: (ids) => findOrders(database, ids), mayBeOneItem });
    this.#changes = new GroupCommit({
      flush: (changes) =>
        changeStatuses(
          database,
          changes,
          reach && (() => changes.forEach(({ stage }) => reach("during batch", stage ?? CANCEL.name))),
        ),
      mayBeOneItem,
    });
    this.#jobs = new GroupCommit({
      flush: withoutResults((jobs) => queues.enqueue(jobs)),
      // Redis refuses all or none.
      mayBeOneItem: () => false,
    });
  }

  load(orderId: string): Promise<StoredOrder | undefined> {
    return this.#loads.submit(orderId);
  }

  changeStatus(change: StatusChange): Promise<boolean> {
    return this.#changes.submit(change);
  }

  requestCancellation(request: Parameters<ExecutorStore["requestCancellation"]>[0]): Promise<boolean> {
    return requestCancellation(this.#database, request);
  }

  clearFailed(orderId: string): Promise<void> {
    return clearFailed(this.#database, orderId);
  }

  enqueue(job: DueJob): Promise<void> {
    return this.#jobs.submit(job);
  }
}
