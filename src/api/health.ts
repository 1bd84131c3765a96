import { route, type Route } from "./route.ts";
import { liveness, readiness } from "./schemas.ts";

const HEALTH = { method: "GET", scope: "public", tag: "Health" } as const;

/** `/health`, without a key: whether the process is alive, and whether it is ready. */
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
