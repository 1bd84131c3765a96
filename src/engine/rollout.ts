import { CANCEL } from "../order/lifecycle.ts";
import { differingSteps, type Outline } from "../order/outline.ts";
import type { Stage, Step } from "../order/stage.ts";
import { describeError } from "../platform/describe-error.ts";
import type { Lease } from "../platform/lease.ts";
import type { Logger } from "../platform/log.ts";
import { Repeat } from "../platform/repeat.ts";
import type { Service } from "../platform/service.ts";

/** How often a process looks which pipeline is in force, and how old an answer may be. Milliseconds. */
const INTERVAL_MS = 1_000;
const FRESH_MS = 2_000;

/** What is held while another pipeline is in force. */
export interface Holdable {
  readonly step: Pick<Step, "name">;
  hold(reason: string): Promise<void>;
  release(reason: string): Promise<void>;
}

export interface RolloutOptions {
  /** This process's pipeline. */
  readonly stages: readonly Stage[];
  /** The pipeline in force, which may have become this process's own just now. @throws {StorageError} */
  readonly see: () => Promise<Outline>;
  readonly log: Logger;
  readonly intervalMs?: number;
}

/**
 * Lets a pipeline change while workers with the former one still run. A worker whose pipeline is not in force holds the
 * steps of which the one in force makes something else: their orders stay queued for workers that know better.
 */
export class Rollout implements Service {
  readonly name = "rollout";
  readonly #options: RolloutOptions;
  readonly #held: Holdable[] = [];
  readonly #looks: Repeat;
  #left = new Set<string>();
  /** `performance.now()`. */
  #seenAt = -Infinity;
  #looking: Promise<void> | undefined;

  constructor(options: RolloutOptions) {
    this.#options = options;
    this.#looks = new Repeat({
      run: () => this.look(),
      everyMs: options.intervalMs ?? INTERVAL_MS,
      onError: (error) =>
        options.log.debug({ error: describeError(error) }, "could not look which pipeline is in force"),
    });
  }

  /** Adds a step's worker. */
  add(worker: Holdable): void {
    this.#held.push(worker);
  }

  /** Resolves when it is known which pipeline is in force, before anything is taken. @throws {StorageError} */
  async start(): Promise<void> {
    await this.look();
    this.#looks.start(INTERVAL_MS);
  }

  stop(): Promise<void> {
    return this.#looks.stop();
  }

  /** The names of the steps that are left to others; `cancel` is among them unless this process's pipeline is in force. */
  get left(): readonly string[] {
    return [...this.#left];
  }

  get isInForce(): boolean {
    return !this.#left.has(CANCEL.name);
  }

  /** Whether this process may take a step now. After a freeze it looks again first. @throws {StorageError} */
  readonly mayTake = async ({ name }: Pick<Step, "name">): Promise<boolean> => {
    if (performance.now() - this.#seenAt > FRESH_MS) await this.look();
    return !this.#left.has(name);
  };

  /** A lease that only a process whose pipeline is in force holds: it alone knows every order's status. */
  whileInForce(lease: Lease): Lease {
    const isInForce = () => this.isInForce;
    return {
      get token() {
        return isInForce() ? lease.token : undefined;
      },
      async hold() {
        if (isInForce()) return lease.hold();
        if (lease.token !== undefined) await lease.release();
        return undefined;
      },
      release: () => lease.release(),
    };
  }

  /** Looks which pipeline is in force. @throws {StorageError} */
  look(): Promise<void> {
    this.#looking ??= this.#look().finally(() => (this.#looking = undefined));
    return this.#looking;
  }

  async #look(): Promise<void> {
    const { stages, see, log } = this.#options;
    const askedAt = performance.now();
    const left = new Set(differingSteps(stages, await see()).map(({ name }) => name));
    this.#seenAt = askedAt;
    const isNews = left.size !== this.#left.size || [...left].some((name) => !this.#left.has(name));
    this.#left = left;
    if (!isNews) return;
    if (left.size > 0)
      log.warn(
        { left: [...left] },
        "another pipeline is in force: these steps are left to workers that have it, until this process is replaced",
      );
    else log.info("this process's pipeline is in force: taking all of its steps");
    await Promise.all(
      this.#held.map((worker) =>
        left.has(worker.step.name) ? worker.hold("pipeline") : worker.release("pipeline"),
      ),
    );
  }
}
