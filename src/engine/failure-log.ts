import type { AttemptMark } from "../order/event.ts";
import type { Lifecycle } from "../order/lifecycle.ts";
import type { Step } from "../order/stage.ts";
import { withoutResults } from "../platform/flush.ts";
import { grouped, type Commit, type Committer } from "../platform/group-commit.ts";
import type { FailedAttempt, OrderStore } from "./ports.ts";
import { timestamp } from "../platform/clock.ts";

/** A failed attempt at a step. */
export interface StepFailure extends Partial<AttemptMark> {
  readonly orderId: string;
  readonly step: Step;
  readonly reason: string;
}

/** Records failed attempts, and orders that have failed for good. */
export class FailureLog {
  readonly #store: OrderStore;
  readonly #lifecycle: Lifecycle;
  readonly #attempts: Committer<FailedAttempt, void>;
  readonly #onEvents: (() => void) | undefined;

  constructor(options: {
    readonly store: OrderStore;
    readonly lifecycle: Lifecycle;
    readonly commit?: Commit;
    /** Called after events are committed. */
    readonly onEvents?: (() => void) | undefined;
  }) {
    const { store, lifecycle, commit = grouped, onEvents } = options;
    this.#store = store;
    this.#lifecycle = lifecycle;
    this.#onEvents = onEvents;
    this.#attempts = commit({
      name: "failed_attempts",
      flush: withoutResults((attempts) => store.appendFailedAttempts(attempts)),
    });
  }

  /** Marks the order as failed until someone resumes or cancels it. @throws {StorageError} */
  async markFailed({ step, ...failure }: StepFailure): Promise<void> {
    await this.#store.markFailed({
      ...failure,
      whileIn: this.#lifecycle.statusesIn(step),
      stage: step.name,
      at: timestamp(),
    });
    this.#onEvents?.();
  }

  /** Records a failed attempt that will be retried. @throws {StorageError} */
  async noteFailedAttempt({ step, ...failure }: StepFailure & AttemptMark): Promise<void> {
    await this.#attempts.submit({ ...failure, stage: step.name, at: timestamp() });
    this.#onEvents?.();
  }
}
