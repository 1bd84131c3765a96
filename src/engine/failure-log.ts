import type { AttemptMark } from "../order/event.ts";
import type { Lifecycle } from "../order/lifecycle.ts";
import type { Step } from "../order/stage.ts";
import { grouped, withoutResults, type Commit, type Committer } from "../platform/group-commit.ts";
import { failureKindOf } from "../platform/storage-error.ts";
import type { FailedAttempt, OrderStore } from "./ports.ts";

/** An attempt at a step that failed. */
export interface StepFailure extends Partial<AttemptMark> {
  readonly orderId: string;
  readonly step: Step;
  readonly reason: string;
}

/** Writes down which attempts have failed, and which of them were the last. */
export class FailureLog {
  readonly #store: OrderStore;
  readonly #lifecycle: Lifecycle;
  readonly #attempts: Committer<FailedAttempt, void>;
  readonly #onEvents: (() => void) | undefined;

  constructor(options: {
    readonly store: OrderStore;
    readonly lifecycle: Lifecycle;
    readonly commit?: Commit;
    /** Told when events were committed. */
    readonly onEvents?: (() => void) | undefined;
  }) {
    const { store, lifecycle, commit = grouped, onEvents } = options;
    this.#store = store;
    this.#lifecycle = lifecycle;
    this.#onEvents = onEvents;
    this.#attempts = commit({
      name: "failed_attempts",
      flush: withoutResults((attempts) => store.appendFailedAttempts(attempts)),
      kindOf: failureKindOf,
    });
  }

  /** The order rests in the step's failed set until somebody has it go on. @throws {StorageError} */
  async markFailed({ step, ...failure }: StepFailure): Promise<void> {
    await this.#store.markFailed({
      ...failure,
      whileIn: this.#lifecycle.statusesIn(step),
      stage: step.name,
      at: new Date(),
    });
    this.#onEvents?.();
  }

  /** There will be another attempt. @throws {StorageError} */
  async noteFailedAttempt({ step, ...failure }: StepFailure & AttemptMark): Promise<void> {
    await this.#attempts.submit({ ...failure, stage: step.name, at: new Date() });
    this.#onEvents?.();
  }
}
