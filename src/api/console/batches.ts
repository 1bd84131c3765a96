import { setTimeout as sleep } from "node:timers/promises";
import { isDatabaseUnavailable } from "../../platform/storage-error.ts";
import { countStage, listGroup, type FailedOrder, resumeOrders } from "../../../db/failures.ts";
import { recordAction, updateAction, type ActionDetails } from "../../../db/operator-actions.ts";
import { isRedisUnavailable } from "../../../queues/errors.ts";
import { describeError } from "../../platform/describe-error.ts";
import type { Lifecycle } from "../../order/lifecycle.ts";
import type { Logger } from "../../platform/log.ts";
import type { Database } from "../../../db/database.ts";
import type { Dispatcher } from "../../engine/ports.ts";

/** Orders of one step forward: their locks are held no longer than that takes, and progress is seen. */
const PAGE = 100;
/** Failed orders that are counted before: where there are more, nobody knows how far it is. */
const COUNTED = 100_000;
/** Orders that are cancelled at the same moment. */
const AT_ONCE = 10;
/** Milliseconds for which a batch waits for MySQL at one place, and between two tries. */
const PATIENCE_MS = 600_000;
const RETRY_MS = 1_000;

/** What is to be done to all orders that failed in a stage, for one reason or for any. */
export interface Batch {
  readonly action: "resume" | "cancel";
  readonly stage: string;
  readonly reason: string | undefined;
  /** Why, for those to be cancelled. */
  readonly why: string | undefined;
  readonly actor: string;
}

interface BatchOptions {
  readonly database: Database;
  readonly requeue: Pick<Dispatcher, "revive">;
  readonly cancel: (
    orderId: string,
    reason: string,
    actor: string,
  ) => Promise<{ readonly accepted: boolean } | undefined>;
  readonly lifecycle: Lifecycle;
  readonly log: Logger;
}

/**
 * Resumes or cancels groups of failed orders in the background. MySQL has the progress, so that any API process can show
 * it. A process that dies in the middle leaves some orders untouched and none half done: start the group again for those.
 */
export class Batches {
  readonly #options: BatchOptions;

  constructor(options: BatchOptions) {
    this.#options = options;
  }

  /** Begins. @returns the id of the operator's action, by which its progress is found. @throws {DatabaseError} */
  async start(batch: Batch): Promise<number> {
    const { database, log } = this.#options;
    const { action, stage, actor } = batch;
    const failed = await countStage(database, stage, COUNTED);
    const id = await recordAction(database, {
      actor,
      action: `${action}-group`,
      target: stage,
      details: detailsOf(batch, 0),
      state: "running",
      total: failed.more ? null : failed.count,
    });
    this.#run(id, batch).catch((error: unknown) => {
      log.error({ action: id, error: describeError(error) }, "stopped in the middle of a group of orders");
    });
    return id;
  }

  async #run(id: number, batch: Batch): Promise<void> {
    const { database } = this.#options;
    const group = { stage: batch.stage, reason: batch.reason, until: new Date() };
    let done = 0;
    let looked = 0;
    try {
      let after: string | undefined;
      do {
        const page = await this.#patiently(() => listGroup(database, group, { limit: PAGE, after }));
        done += await this.#patiently(() => this.#advance(page.orders, batch));
        looked += page.looked;
        after = page.next;
        const state = after === undefined ? "done" : "running";
        const details = detailsOf(batch, looked);
        await this.#patiently(() => updateAction(database, id, { done, state, details }));
      } while (after !== undefined);
    } catch (error) {
      await this.#patiently(() => updateAction(database, id, { done, state: "failed" }));
      throw error;
    }
  }

  /** A MySQL that is away for a moment ends no batch. What is done twice is done once. @throws what stays. */
  async #patiently<T>(work: () => Promise<T>): Promise<T> {
    const deadline = performance.now() + PATIENCE_MS;
    for (;;) {
      try {
        return await work();
      } catch (error) {
        if (!isDatabaseUnavailable(error) || performance.now() > deadline) throw error;
        await sleep(RETRY_MS, undefined, { ref: false });
      }
    }
  }

  /** @returns to how many of them it was done. */
  #advance(orders: readonly FailedOrder[], batch: Batch): Promise<number> {
    return batch.action === "resume" ? this.#resume(orders, batch) : this.#cancel(orders, batch);
  }

  async #resume(orders: readonly FailedOrder[], { actor }: Batch): Promise<number> {
    const { database, lifecycle, requeue, log } = this.#options;
    const resumed = await resumeOrders(
      database,
      orders.map(({ id }) => id),
      actor,
    );
    const due = orders.flatMap(({ id, status, cancelRequested }) => {
      const transition = lifecycle.next({ status, cancelled: cancelRequested });
      return transition ? [{ orderId: id, transition }] : [];
    });
    try {
      await requeue.revive(due);
    } catch (error) {
      if (!isRedisUnavailable(error)) throw error;
      // They go on all the same: the sweeper finds that they have no job.
      log.warn({ orders: due.length, error: describeError(error) }, "resumed, but not queued yet");
    }
    return resumed;
  }

  async #cancel(orders: readonly FailedOrder[], { actor, why = "" }: Batch): Promise<number> {
    let cancelled = 0;
    for (let start = 0; start < orders.length; start += AT_ONCE) {
      const answers = await Promise.all(
        orders.slice(start, start + AT_ONCE).map(({ id }) => this.#options.cancel(id, why, actor)),
      );
      cancelled += answers.filter((answer) => answer?.accepted).length;
    }
    return cancelled;
  }
}

/** @param looked how many of the stage's failed orders have been looked at. */
function detailsOf({ reason, why }: Batch, looked: number): ActionDetails {
  return { reason: reason ?? null, ...(why !== undefined && { why }), looked };
}
