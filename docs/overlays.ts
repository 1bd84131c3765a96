import type { Lifecycle } from "../src/order/lifecycle.ts";

/** Where they belong. */
const FOLDER = "deploy/kubernetes/overlays/stages/workers";

/** The kustomizations that run workers of their own for each step of the pipeline, by file. */
export function workerOverlays({ steps }: Pick<Lifecycle, "steps">): ReadonlyMap<string, string> {
  const all = `resources:\n${steps.map(({ name }) => `  - ${name}\n`).join("")}`;
  return new Map([
    [`${FOLDER}/kustomization.yaml`, kustomization(all)],
    ...steps.map(
      ({ name }) => [`${FOLDER}/${name}/kustomization.yaml`, kustomization(workersOf(name))] as const,
    ),
  ]);
}

function kustomization(content: string): string {
  return `# Generated from the pipeline: npm run docs.
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization

${content}`;
}

function workersOf(step: string): string {
  return `nameSuffix: -${step}
labels:
  - pairs: { conveyor/stage: ${step} }
    includeSelectors: true
    includeTemplates: true
resources:
  - ../../../../worker
components:
  - ../../../../components/keda
patches:
  - target: { kind: Deployment }
    patch: |-
      - { op: add, path: /spec/template/spec/containers/0/args, value: [--stages, ${step}] }
  - target: { kind: ScaledObject }
    patch: |-
      - op: replace
        path: /spec/triggers/0/metadata/query
        value: |
          max(
            max by (stage) (conveyor_oldest_order_age_seconds{stage="${step}"})
              and on (stage) max by (stage) (conveyor_queue_jobs{state="waiting"}) > 50
              unless on (stage) max by (stage) ({__name__=~"conveyor_stage_(breaker_open|failing)"}) == 1
          )
      - op: replace
        path: /spec/triggers/1/metadata/query
        value: |
          (
            sum(
              max by (stage) (conveyor_queue_jobs{stage="${step}",state="waiting"})
                unless on (stage) max by (stage) ({__name__=~"conveyor_stage_(breaker_open|failing)"}) == 1
            ) or vector(0)
          ) + (sum(conveyor_worker_jobs{stage="${step}"}) or vector(0))
`;
}
