import { readFileSync } from "node:fs";
import path from "node:path";
import { parse } from "yaml";
import { z } from "zod";
import { PROJECT_FOLDER } from "../../launcher/local-folder.ts";

const MANIFEST = "deploy/kubernetes/components/keda/scaled-object.yaml";
/** The horizontal autoscaler leaves differences below this share alone. */
const TOLERANCE = 0.1;

const policy = z.object({ type: z.literal("Percent"), value: z.number(), periodSeconds: z.number() });
const scaledObject = z.object({
  spec: z.object({
    minReplicaCount: z.number(),
    maxReplicaCount: z.number(),
    pollingInterval: z.number(),
    advanced: z.object({
      horizontalPodAutoscalerConfig: z.object({
        behavior: z.object({
          scaleUp: z.object({ policies: z.tuple([policy]) }),
          scaleDown: z.object({ stabilizationWindowSeconds: z.number(), policies: z.tuple([policy]) }),
        }),
      }),
    }),
    triggers: z.array(
      z.object({
        name: z.string(),
        metricType: z.enum(["Value", "AverageValue"]),
        metadata: z.object({ threshold: z.coerce.number(), query: z.string() }),
      }),
    ),
  }),
});

/** A number by which workers are asked for. */
export interface Trigger {
  readonly name: string;
  /** The number as it is, or divided by the workers. */
  readonly metricType: "Value" | "AverageValue";
  readonly threshold: number;
  /** PromQL. */
  readonly query: string;
}

/** At most so many percent more or fewer within a time. */
interface Pace {
  readonly percent: number;
  readonly withinMs: number;
}

/** When there are to be more workers, and when fewer. */
export interface Rules {
  readonly least: number;
  readonly most: number;
  readonly everyMs: number;
  readonly triggers: readonly Trigger[];
  readonly up: Pace;
  readonly down: Pace;
  /** There are only fewer workers than before if none of the last so many milliseconds asked for more. */
  readonly steadyMs: number;
}

/**
 * The rules of the ScaledObject in deploy/kubernetes.
 *
 * @param speed divides all times, for a run that only shows that everything works.
 */
export function readRules(speed = 1): Rules {
  const { spec } = scaledObject.parse(parse(readFileSync(path.join(PROJECT_FOLDER, MANIFEST), "utf8")));
  const { scaleUp, scaleDown } = spec.advanced.horizontalPodAutoscalerConfig.behavior;
  const ms = (seconds: number) => (seconds * 1_000) / speed;
  const pace = ({ value, periodSeconds }: z.output<typeof policy>) => ({
    percent: value,
    withinMs: ms(periodSeconds),
  });
  return {
    least: spec.minReplicaCount,
    most: spec.maxReplicaCount,
    everyMs: ms(spec.pollingInterval),
    triggers: spec.triggers.map(({ name, metricType, metadata: { threshold, query } }) => ({
      name,
      metricType,
      threshold,
      query,
    })),
    up: pace(scaleUp.policies[0]),
    down: pace(scaleDown.policies[0]),
    steadyMs: ms(scaleDown.stabilizationWindowSeconds),
  };
}

/** Decides as Kubernetes' horizontal autoscaler does on what KEDA tells it. */
export class Autoscaler {
  readonly #rules: Rules;
  /** What was asked for, within the stabilization window. */
  #asked: { readonly at: number; readonly workers: number }[] = [];
  /** Changes within the paces' times. */
  #changes: { readonly at: number; readonly by: number }[] = [];

  constructor(rules: Rules) {
    this.#rules = rules;
  }

  /**
   * How many workers there are to be.
   *
   * @param now milliseconds, from any start.
   * @param values by the triggers' names. Without a value, as while Prometheus doesn't answer, there are never fewer.
   */
  decide(now: number, workers: number, values: ReadonlyMap<string, number>): number {
    const { triggers, least, most, up, down, steadyMs } = this.#rules;
    const wanted = triggers.flatMap((trigger) => {
      const value = values.get(trigger.name);
      return value === undefined ? [] : [wantedBy(trigger, value, workers)];
    });
    const known = wanted.length === triggers.length ? wanted : [...wanted, workers];
    this.#asked.push({ at: now, workers: Math.max(...known) });
    this.#asked = this.#asked.filter(({ at }) => now - at < steadyMs);
    const asked = Math.max(...known);
    const steady = Math.max(...this.#asked.map((each) => each.workers));
    const target = asked > workers ? asked : Math.min(workers, steady);

    this.#changes = this.#changes.filter(({ at }) => now - at < Math.max(up.withinMs, down.withinMs));
    const before = (pace: Pace, sign: 1 | -1) =>
      workers -
      this.#changes
        .filter(({ at, by }) => now - at < pace.withinMs && Math.sign(by) === sign)
        .reduce((sum, { by }) => sum + by, 0);
    const ceiling = Math.ceil(before(up, 1) * (1 + up.percent / 100));
    const floor = Math.floor(before(down, -1) * (1 - down.percent / 100));
    const decided = clamp(
      target,
      Math.max(least, Math.min(floor, workers)),
      Math.min(most, Math.max(ceiling, workers)),
    );
    if (decided !== workers) this.#changes.push({ at: now, by: decided - workers });
    return decided;
  }
}

function wantedBy({ metricType, threshold }: Trigger, value: number, workers: number): number {
  const ratio = value / (metricType === "Value" ? threshold : threshold * workers);
  return Math.abs(ratio - 1) <= TOLERANCE ? workers : Math.ceil(ratio * workers);
}

function clamp(value: number, least: number, most: number): number {
  return Math.min(most, Math.max(least, value));
}
