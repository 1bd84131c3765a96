import { setTimeout as sleep } from "node:timers/promises";
import { describeError } from "../platform/describe-error.ts";
import type { Logger } from "../platform/log.ts";
import { afterwards, isDatabaseUnavailable } from "../platform/storage-error.ts";
import type { Cancellation } from "./cancellation.ts";
import type { Operations } from "./operations.ts";
import type {
  ActionDetails,
  ActionProgress,
  FailedOrder,
  FailedPlace,
  FailureFilter,
  OperatorStore,
} from "./ports.ts";
import { timestamp } from "../platform/clock.ts";

/**
 * Orders per transaction, kept small to release locks soon: for a waiting client, and for a batch with visible
 * progress.
 */
const PAGE = 500;
const SHOWN_PAGE = 100;
/** Failed orders counted in advance; beyond that, the total is unknown. */
const COUNTED = 100_000;
/** Concurrent cancellations. */
const AT_ONCE = 10;
/** How long a batch waits for the store at one place, and between tries. Milliseconds. */
const PATIENCE_MS = 600_000;
const RETRY_MS = 1_000;

/** An operation on a group of failed orders. */
export type Batch = { readonly group: FailureFilter; readonly actor: string } & (
  | { readonly action: "resume" }
  /** @param why recorded as the reason. */
  | { readonly action: "cancel"; readonly why: string }
);

interface GroupOptions {
  readonly store: OperatorStore;
  readonly operations: Pick<Operations, "resume">;
  readonly cancellation: Pick<Cancellation, "request">;
  readonly log: Logger;
}

/**
 * Resumes or cancels groups of failed orders: by stage, by reason, or all. Progress is stored, so any process can show
 * it. A process that dies midway leaves some orders untouched but none half done: start the group again for those.
 */
export class FailureGroups {
  readonly #options: GroupOptions;

  constructor(options: GroupOptions) {
    this.#options = options;
  }

  /**
   * Resumes as much of a group as fits into the time given; `more` if orders are left. A second call skips what was
   * resumed.
   *
   * @param withinMs milliseconds after which to return, once at least one order is resumed.
   * @throws {StorageError}
   */
  async resume(
    group: FailureFilter,
    actor: string,
    withinMs: number,
  ): Promise<{ readonly resumed: number; readonly more?: true }> {
    const startedAt = performance.now();
    const batch: Batch = { action: "resume", group, actor };
    // Recorded when it ends, and only if it did something: otherwise its client may hear "nothing was done".
    const action: RecordedAction = {
      note: async (progress) => {
        if (progress.state !== "running" && progress.done > 0) await this.#record(batch, null, progress);
      },
    };
    const { done, next } = await this.#run(action, batch, {
      limit: PAGE,
      isHurried: true,
      attempt: (work, soFar) => (soFar === 0 ? work() : afterwards(work)),
      isEnough: (soFar) => soFar > 0 && performance.now() - startedAt >= withinMs,
    });
    return { resumed: done, ...(next && { more: true }) };
  }

  /**
   * Starts to resume or cancel a group in the background.
   *
   * @returns the id of the recorded action, which shows its progress. @throws {StorageError}
   */
  async start(batch: Batch): Promise<number> {
    const { store, log } = this.#options;
    const { stage } = batch.group;
    const failed = stage === undefined ? undefined : await store.countFailed(stage, COUNTED);
    const id = await this.#record(batch, failed === undefined || failed.more ? null : failed.count);
    const pace = { limit: SHOWN_PAGE, before: timestamp(), attempt: patiently, isEnough: () => false };
    const action: RecordedAction = { note: (progress) => store.updateAction(id, progress) };
    this.#run(action, batch, pace).catch((error: unknown) => {
      log.error({ action: id, error: describeError(error) }, "stopped midway through a group of orders");
    });
    return id;
  }

  #record(batch: Batch, total: number | null, progress?: ActionProgress): Promise<number> {
    const { action, group, actor } = batch;
    return this.#options.store.recordAction({
      actor,
      action: `${action}-group`,
      target: group.stage ?? "any stage",
      details: detailsOf(batch, 0),
      state: "running",
      total,
      ...progress,
    });
  }

  /** Works page by page. @returns orders processed, and the cursor to continue from, if any are left. */
  async #run(
    action: RecordedAction,
    batch: Batch,
    pace: Pace,
  ): Promise<{ done: number; next: FailedPlace | undefined }> {
    const { store } = this.#options;
    const { limit, attempt, isEnough } = pace;
    const group = { before: pace.before, ...batch.group };
    let done = 0;
    let looked = 0;
    let next: FailedPlace | undefined;
    try {
      do {
        const after = next;
        const page = await attempt(() => store.listFailed(group, { limit, after }), done);
        done += await attempt(() => this.#advance(page.orders, batch, pace), done);
        looked += page.looked;
        ({ next } = page);
        const isLast = next === undefined || isEnough(done);
        const progress = { done, state: isLast ? ("done" as const) : ("running" as const) };
        const details = detailsOf(batch, looked);
        await attempt(() => action.note({ ...progress, details }), done);
      } while (next !== undefined && !isEnough(done));
      return { done, next };
    } catch (error) {
      patiently(() => action.note({ done, state: "failed" })).catch(() => undefined);
      throw error;
    }
  }

  /** @returns how many orders were resumed or cancelled. */
  async #advance(orders: readonly FailedOrder[], batch: Batch, { isHurried }: Pace): Promise<number> {
    const { operations, cancellation } = this.#options;
    if (batch.action === "resume") {
      const { resumed, queued } = await operations.resume(orders, batch.actor);
      if (!isHurried) await queued;
      return resumed;
    }
    const { why, actor } = batch;
    let cancelled = 0;
    for (let start = 0; start < orders.length; start += AT_ONCE) {
      const answers = await Promise.all(
        orders.slice(start, start + AT_ONCE).map(({ id }) => cancellation.request(id, why, actor)),
      );
      cancelled += answers.filter((answer) => answer?.accepted).length;
    }
    return cancelled;
  }
}

/** An operator's action whose progress is stored. */
interface RecordedAction {
  note(progress: ActionProgress): Promise<unknown>;
}

/** How fast to work, and when to stop. */
interface Pace {
  /** Page size. */
  readonly limit: number;
  /** Skips orders that failed after this. */
  readonly before?: Date;
  /** Whether a client waits: then do not wait for the dispatcher. */
  readonly isHurried?: boolean;
  readonly attempt: <T>(work: () => Promise<T>, done: number) => Promise<T>;
  readonly isEnough: (done: number) => boolean;
}

/** Retries while the store is unavailable; repeating the work is safe. @throws the last error. */
async function patiently<T>(work: () => Promise<T>): Promise<T> {
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

/** @param looked failed orders examined so far. */
function detailsOf(batch: Batch, looked: number): ActionDetails {
  const { reason = null, before } = batch.group;
  return {
    reason,
    ...(batch.action === "cancel" && { why: batch.why }),
    ...(before && { before: before.toISOString() }),
    looked,
  };
}
