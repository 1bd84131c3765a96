import { PIPELINE } from "./pipeline.ts";
import type { Stage, Step } from "./stage.ts";

/** The status of an order that no stage has finished. */
export const CREATED = "CREATED";
/** The status of an order that was given up, with everything undone. */
export const CANCELLED = "CANCELLED";

export type OrderStatus = typeof CREATED | (typeof PIPELINE)[number]["to"] | typeof CANCELLED;

const STAGE_NAME = /^[a-z][a-z0-9-]{0,31}$/;
const STATUS = /^[A-Z][A-Z0-9_]{0,31}$/;

/**
 * The undoing of what is done, for an order to be cancelled. Not a stage: it may begin wherever an order stands. It has a
 * queue of its own, so that a stage that is held, or whose job waits for its next attempt, does not hold it up.
 */
export const CANCEL: Step = { name: "cancel" };

/** A step that takes an order from one status to another. */
export interface Transition {
  readonly step: Step;
  readonly from: string;
  readonly to: string;
}

/** The transition that a stage makes. */
export interface StageTransition extends Transition {
  readonly step: Stage;
}

/** By when an order must have done a stage. */
export interface Deadline {
  readonly stage: Stage;
  /** Since the order's creation. */
  readonly milliseconds: number;
}

/** The table of stages is contradictory: the process must not start. */
export class InvalidPipelineError extends Error {
  override name = "InvalidPipelineError";
}

/** An order carries a status that no stage leads to: it was written by a pipeline that had more stages. */
export class UnknownStatusError extends Error {
  override name = "UnknownStatusError";
  constructor(status: string, known: readonly string[]) {
    super(`no stage of the pipeline knows the status ${status}; known are ${known.join(", ")}`);
  }
}

/** What follows from a table of stages: which status leads where, what is due, what can be cancelled. */
export class Lifecycle {
  readonly stages: readonly Stage[];
  /** All that has a queue: the stages in order, and the undoing. */
  readonly steps: readonly Step[];
  /** CREATED, the stages' statuses in order, CANCELLED. */
  readonly statuses: readonly string[];
  readonly #due: ReadonlyMap<string, StageTransition>;

  /** @throws {InvalidPipelineError} when names or statuses are malformed, reserved or used twice; it lists them all. */
  constructor(stages: readonly Stage[]) {
    refuseContradictions(stages);
    this.stages = stages;
    this.steps = [...stages, CANCEL];
    this.statuses = [CREATED, ...stages.map((stage) => stage.to), CANCELLED];
    this.#due = new Map(
      stages.map((stage, index) => {
        const from = stages[index - 1]?.to ?? CREATED;
        return [from, { step: stage, from, to: stage.to }];
      }),
    );
  }

  /** What an order of this status waits for; undefined when it has ended. @throws {UnknownStatusError} */
  due(status: string): StageTransition | undefined {
    this.#check(status);
    return this.#due.get(status);
  }

  /**
   * The transition to CANCELLED of an order that is to be cancelled; undefined for one that can't be, or has ended.
   * @throws {UnknownStatusError}
   */
  cancelling(status: string): Transition | undefined {
    return this.canCancel(status) ? { step: CANCEL, from: status, to: CANCELLED } : undefined;
  }

  /** What becomes of an order next; undefined when it has ended. @throws {UnknownStatusError} */
  next(order: { readonly status: string; readonly cancelled: boolean }): Transition | undefined {
    return (order.cancelled ? this.cancelling(order.status) : undefined) ?? this.due(order.status);
  }

  /** The status in which an order waits for this stage. @throws {Error} for a stage of another pipeline. */
  statusBefore(stage: Pick<Stage, "name">): string {
    for (const transition of this.#due.values())
      if (transition.step.name === stage.name) return transition.from;
    throw new Error(`the pipeline has no stage ${stage.name}`);
  }

  /** The statuses in which an order may be found in this step. @throws {Error} for a stage of another pipeline. */
  statusesIn(step: Pick<Step, "name">): readonly string[] {
    if (step.name !== CANCEL.name) return [this.statusBefore(step)];
    return this.statuses.filter((status) => this.canCancel(status));
  }

  /** Whether the order has reached DELIVERED (the last stage) or CANCELLED. @throws {UnknownStatusError} */
  hasEnded(status: string): boolean {
    return this.due(status) === undefined;
  }

  /** Whether an order of this status can still be cancelled. @throws {UnknownStatusError} */
  canCancel(status: string): boolean {
    return !this.hasEnded(status) && !this.#finished(status).some((stage) => stage.pointOfNoReturn);
  }

  /**
   * The stages to undo for an order of this status, in the order of undoing. The stage that is due comes first: it may
   * have been started, even if nobody lived to write down how it ended. @throws {UnknownStatusError}
   */
  toUndo(status: string): readonly Stage[] {
    const due = this.due(status);
    return [...this.#finished(status), ...(due ? [due.step] : [])]
      .filter((stage) => stage.undo !== undefined)
      .toReversed();
  }

  /**
   * Which deadline an order of each status has to meet: that of the stage it waits for, or of one after that, if that
   * ends sooner. A status without a deadline is not among them.
   *
   * @param overrides milliseconds by name of stage, instead of what the stages themselves say.
   */
  deadlines(overrides: Readonly<Record<string, number | undefined>> = {}): ReadonlyMap<string, Deadline> {
    const deadlines = new Map<string, Deadline>();
    let soonest: Deadline | undefined;
    for (const stage of this.stages.toReversed()) {
      const milliseconds = overrides[stage.name] ?? stage.settings?.deadline;
      if (milliseconds !== undefined && milliseconds <= (soonest?.milliseconds ?? Infinity)) {
        soonest = { stage, milliseconds };
      }
      if (soonest) deadlines.set(this.statusBefore(stage), soonest);
    }
    return deadlines;
  }

  /** The statuses, out of those given, that no stage knows. */
  unknown(statuses: readonly string[]): string[] {
    return statuses.filter((status) => !this.statuses.includes(status));
  }

  #finished(status: string): readonly Stage[] {
    return this.stages.slice(0, this.stages.findIndex((stage) => stage.to === status) + 1);
  }

  #check(status: string): void {
    if (!this.statuses.includes(status)) throw new UnknownStatusError(status, this.statuses);
  }
}

/** The lifecycle of this service's orders. */
export const lifecycle = new Lifecycle(PIPELINE);

function refuseContradictions(stages: readonly Stage[]): void {
  const faults: string[] = [];
  if (stages.length === 0) faults.push("there is no stage");
  const names = new Set<string>([CANCEL.name]);
  const statuses = new Set<string>([CREATED, CANCELLED]);
  for (const { name, to } of stages) {
    if (!STAGE_NAME.test(name)) faults.push(`the stage name "${name}" does not match ${STAGE_NAME}`);
    if (!STATUS.test(to)) faults.push(`the status "${to}" of stage ${name} does not match ${STATUS}`);
    if (names.has(name)) faults.push(`the stage name ${name} is taken`);
    if (statuses.has(to)) faults.push(`the status ${to} of stage ${name} is taken`);
    names.add(name);
    statuses.add(to);
  }
  const last = stages.findIndex((stage) => stage.pointOfNoReturn);
  for (const { name, settings } of last < 0 ? [] : stages.slice(last + 1)) {
    if (settings?.deadline !== undefined)
      faults.push(`the deadline of stage ${name} means nothing: by then an order can no longer be cancelled`);
  }
  if (faults.length > 0)
    throw new InvalidPipelineError(`the pipeline is contradictory: ${faults.join("; ")}`);
}
