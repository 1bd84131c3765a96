import { isServiceUrl, isSigningSecret } from "./http-stage.ts";
import { PIPELINE } from "./pipeline.ts";
import type { Stage, Step } from "./stage.ts";

/** The status before any stage has finished. */
export const CREATED = "CREATED";
/** The status of a cancelled order whose stages have all been undone. */
export const CANCELLED = "CANCELLED";

export type OrderStatus = typeof CREATED | (typeof PIPELINE)[number]["to"] | typeof CANCELLED;

const STAGE_NAME = /^[a-z][a-z0-9-]{0,31}$/;
const STATUS = /^[A-Z][A-Z0-9_]{0,31}$/;

/**
 * The step that undoes the finished stages of an order being cancelled. It is not a stage, since it can start
 * from any status. It has its own queue, so that a held stage or a delayed retry does not block it.
 */
export const CANCEL: Step = { name: "cancel" };

/** A step and the statuses it leads from and to. */
export interface Transition {
  readonly step: Step;
  readonly from: string;
  readonly to: string;
}

/** The transition made by a stage. */
export interface StageTransition extends Transition {
  readonly step: Stage;
}

/** The time by which an order must have finished a stage. */
export interface Deadline {
  readonly stage: Stage;
  /** Since the order's creation. */
  readonly milliseconds: number;
}

/** The pipeline is invalid; the process must not start. */
export class InvalidPipelineError extends Error {
  override name = "InvalidPipelineError";
}

/** An order has a status that no stage leads to; a pipeline with more stages wrote it. */
export class UnknownStatusError extends Error {
  override name = "UnknownStatusError";
  constructor(status: string, known: readonly string[]) {
    super(`no stage of the pipeline leads to the status ${status}; known statuses: ${known.join(", ")}`);
  }
}

/** Derives from the pipeline which stage is due in each status, and which orders can be cancelled. */
export class Lifecycle {
  readonly stages: readonly Stage[];
  /** Everything with a queue: the stages in order, then `cancel`. */
  readonly steps: readonly Step[];
  /** CREATED, the stages' statuses in order, and CANCELLED. */
  readonly statuses: readonly string[];
  readonly #due: ReadonlyMap<string, StageTransition>;

  /** @throws {InvalidPipelineError} that lists all names and statuses that are malformed, reserved or duplicate */
  constructor(stages: readonly Stage[]) {
    const faults = faultsOf(stages);
    if (faults.length > 0) throw new InvalidPipelineError(`the pipeline is invalid: ${faults.join("; ")}`);
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

  /** The transition that is due in this status; undefined if the order has ended. @throws {UnknownStatusError} */
  due(status: string): StageTransition | undefined {
    this.#check(status);
    return this.#due.get(status);
  }

  /**
   * The transition to CANCELLED; undefined if an order in this status can't be cancelled or has ended.
   * @throws {UnknownStatusError}
   */
  cancelling(status: string): Transition | undefined {
    return this.canCancel(status) ? { step: CANCEL, from: status, to: CANCELLED } : undefined;
  }

  /** An order's next transition; undefined if it has ended. @throws {UnknownStatusError} */
  next(order: { readonly status: string; readonly cancelled: boolean }): Transition | undefined {
    return (order.cancelled ? this.cancelling(order.status) : undefined) ?? this.due(order.status);
  }

  /** The status of orders that wait for this stage. @throws {Error} for a stage of another pipeline */
  statusBefore(stage: Pick<Stage, "name">): string {
    for (const transition of this.#due.values())
      if (transition.step.name === stage.name) return transition.from;
    throw new Error(`the pipeline has no stage ${stage.name}`);
  }

  /** The transitions from CREATED up to this one, which comes last. */
  upTo(transition: Transition): readonly Transition[] {
    const made = [...this.#due.values()];
    return [
      ...made.slice(
        0,
        made.findIndex(({ from }) => from === transition.from),
      ),
      transition,
    ];
  }

  /** The stage that leads to a status; undefined for CREATED and CANCELLED. */
  stageTo(status: string): Stage | undefined {
    return this.stages.find(({ to }) => to === status);
  }

  /** The statuses of orders that may be in this step. @throws {Error} for a stage of another pipeline */
  statusesIn(step: Pick<Step, "name">): readonly string[] {
    if (step.name !== CANCEL.name) return [this.statusBefore(step)];
    return this.statuses.filter((status) => this.canCancel(status));
  }

  /** Whether the status is final: DELIVERED (the last stage) or CANCELLED. @throws {UnknownStatusError} */
  hasEnded(status: string): boolean {
    return this.due(status) === undefined;
  }

  /** Whether an order in this status can be cancelled. @throws {UnknownStatusError} */
  canCancel(status: string): boolean {
    return !this.hasEnded(status) && !this.#finished(status).some((stage) => stage.pointOfNoReturn);
  }

  /**
   * The stages to undo for an order in this status, in that order. The due stage comes first: it may have
   * started without the result being recorded.
   *
   * @throws {UnknownStatusError}
   */
  toUndo(status: string): readonly Stage[] {
    const due = this.due(status);
    return [...this.#finished(status), ...(due ? [due.step] : [])]
      .filter((stage) => stage.undo !== undefined)
      .toReversed();
  }

  /**
   * The deadline for each status: that of the due stage or of a later one, whichever is sooner. Statuses
   * without a deadline are left out.
   *
   * @param overrides milliseconds by stage name, instead of the stages' own settings
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

  /** Whether the pipeline has a stage of this name. */
  has(name: string): boolean {
    return this.stages.some((stage) => stage.name === name);
  }

  /** Whether the status is one of the pipeline's. */
  knows(status: string): boolean {
    return this.statuses.includes(status);
  }

  /** The given statuses that are not in the pipeline. */
  unknown(statuses: readonly string[]): string[] {
    return statuses.filter((status) => !this.knows(status));
  }

  #finished(status: string): readonly Stage[] {
    return this.stages.slice(0, this.stages.findIndex((stage) => stage.to === status) + 1);
  }

  #check(status: string): void {
    if (!this.knows(status)) throw new UnknownStatusError(status, this.statuses);
  }
}

/** The lifecycle of this process's orders: that of {@link PIPELINE}, unless {@link usePipeline} says otherwise. */
export let lifecycle = new Lifecycle(PIPELINE);

/** Has this process use other stages. Called once, at its start, before anything is built. @throws {InvalidPipelineError} */
export function usePipeline(stages: readonly Stage[]): void {
  lifecycle = new Lifecycle(stages);
}

/** What is wrong with a pipeline, a line each. */
export function faultsOf(stages: readonly Stage[]): string[] {
  const faults: string[] = [];
  if (stages.length === 0) faults.push("there are no stages");
  const names = new Set<string>([CANCEL.name]);
  const statuses = new Set<string>([CREATED, CANCELLED]);
  for (const { name, to, http } of stages) {
    if (http && !isServiceUrl(http.url))
      faults.push(`the URL of stage ${name} is not an http or https address without user and password`);
    if (http?.secret !== undefined && !http.secret.split(" ").every(isSigningSecret))
      faults.push(`the secret of stage ${name} is not whsec_ and the base64 of at least 24 bytes`);
    if (!STAGE_NAME.test(name)) faults.push(`the stage name "${name}" does not match ${STAGE_NAME}`);
    if (!STATUS.test(to)) faults.push(`the status "${to}" of stage ${name} does not match ${STATUS}`);
    if (names.has(name)) faults.push(`the stage name ${name} is already used`);
    if (statuses.has(to)) faults.push(`the status ${to} of stage ${name} is already used`);
    names.add(name);
    statuses.add(to);
  }
  const last = stages.findIndex((stage) => stage.pointOfNoReturn);
  for (const { name, settings } of last < 0 ? [] : stages.slice(last + 1)) {
    if (settings?.deadline !== undefined)
      faults.push(`the deadline of stage ${name} has no effect: orders can no longer be cancelled by then`);
  }
  return faults;
}
