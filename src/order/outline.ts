import { CANCEL, CREATED } from "./lifecycle.ts";
import type { Stage, Step } from "./stage.ts";

/* How two pipelines differ, for the time when one follows the other. */

/** What of a stage must be the same for two pipelines to share it. */
export interface OutlinedStage {
  readonly name: string;
  readonly to: string;
  readonly undo: boolean;
  readonly pointOfNoReturn: boolean;
}

/** A pipeline's stages in order. */
export type Outline = readonly OutlinedStage[];

/** What tells this pipeline from others. */
export function outlineOf(stages: readonly Stage[]): Outline {
  return stages.map((stage) => ({
    name: stage.name,
    to: stage.to,
    undo: stage.undo !== undefined,
    pointOfNoReturn: stage.pointOfNoReturn ?? false,
  }));
}

/**
 * The steps of which another pipeline makes something else: stages that it does not have between the same statuses, and,
 * unless both are the same, `cancel`, which would undo other stages.
 */
export function differingSteps(stages: readonly Stage[], other: Outline): readonly Step[] {
  const own = outlineOf(stages);
  const differing = stages.filter(({ name, to }, index) => {
    const at = other.findIndex((stage) => stage.name === name && stage.to === to);
    return at < 0 || other[at - 1]?.to !== own[index - 1]?.to;
  });
  return JSON.stringify(own) === JSON.stringify(other) ? [] : [...differing, CANCEL];
}

/** Stages whose place has changed, and the statuses that therefore no longer say what was done. */
export interface Moved {
  /** Would not run for some orders in {@link statuses}. */
  readonly skipped: readonly string[];
  /** Would run again. */
  readonly repeated: readonly string[];
  /** Those statuses, and those from which orders come into them. */
  readonly statuses: readonly string[];
}

/**
 * What would go wrong for orders that the former pipeline has brought to where they are. A status stands for the stages
 * before it: if a stage of both pipelines is before a status in one of them alone, an order in it would skip that stage, or
 * go through it again. A stage that only one of them has does no harm.
 */
export function movedStages(former: Outline, stages: Outline): Moved | undefined {
  const isShared = ({ name }: OutlinedStage) =>
    [former, stages].every((all) => all.some((each) => each.name === name));
  const doneAt = (all: Outline, at: number) =>
    all
      .slice(0, at + 1)
      .filter(isShared)
      .map(({ name }) => name);
  const [skipped, repeated] = [new Set<string>(), new Set<string>()];
  let last = -1;
  for (const [index, { to }] of former.entries()) {
    const at = stages.findIndex((stage) => stage.to === to);
    if (at < 0) continue;
    const [before, now] = [doneAt(former, index), doneAt(stages, at)];
    const missed = now.filter((name) => !before.includes(name));
    const again = before.filter((name) => !now.includes(name));
    if (missed.length + again.length > 0) last = index;
    for (const name of missed) skipped.add(name);
    for (const name of again) repeated.add(name);
  }
  if (last < 0) return undefined;
  const statuses = [CREATED, ...former.slice(0, last + 1).map(({ to }) => to)];
  return { skipped: [...skipped], repeated: [...repeated], statuses };
}
