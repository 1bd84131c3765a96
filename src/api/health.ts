import { route, type Route } from "./route.ts";
import { acceptance, liveness, readiness } from "./schemas.ts";

const HEALTH = { method: "GET", scope: "public", tag: "Health" } as const;

/** `/health`, without a key: whether the process is alive, takes requests, and is ready. */
export const healthRoutes: readonly Route[] = [
  route({
    ...HEALTH,
    path: "/health/live",
    summary: "Check that the process is alive",
    answers: { 200: { description: "Alive", schema: liveness } },
    handler: ({ response }) => response.json({ live: true }),
  }),
  route({
    ...HEALTH,
    path: "/health/accepting",
    summary: "Check that the process is not about to stop, for load balancers",
    answers: {
      200: { description: "Takes requests", schema: acceptance },
      503: { description: "Shuts down: send requests elsewhere", schema: acceptance },
    },
    handler: ({ response }, { health: { accepting } }) =>
      response.status(accepting ? 200 : 503).json({ accepting }),
  }),
  route({
    ...HEALTH,
    path: "/health/ready",
    summary: "Check that the process is ready, and what it lacks",
    answers: {
      200: { description: "Ready", schema: readiness },
      503: { description: "Not ready", schema: readiness },
    },
    handler: async ({ response }, { health }) => {
      const found = await health.check();
      response.status(found.ready ? 200 : 503).json(found);
    },
  }),
];
