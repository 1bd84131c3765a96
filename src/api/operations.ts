import { z } from "zod";
import { afterwards } from "../platform/storage-error.ts";
import { ANSWER_PARTS, runAnswer } from "../providers/http/answers.ts";
import { TOKEN_LENGTH } from "../providers/http/callbacks.ts";
import { Problem } from "./problem.ts";
import { noSuch, problemAnswer, route } from "./route.ts";

const tokenPath = z.object({ token: z.string().regex(new RegExp(`^[A-Za-z0-9_-]{${TOKEN_LENGTH}}$`)) });

const operationResult = z
  .strictObject(ANSWER_PARTS)
  .partial()
  .refine((body) => Object.keys(body).length === 1, {
    error: `must have exactly one of ${Object.keys(ANSWER_PARTS).join(", ")}`,
  })
  .meta({ id: "OperationResult" });

/** `/operations/:token`: the results of HTTP stages that come later. */
export const operationRoute = route({
  method: "POST",
  path: "/operations/:token",
  // The token is the key.
  scope: "public",
  tag: "Operations",
  names: "operation",
  summary: "Deliver the result of an HTTP stage",
  description:
    "For services that have answered 202, or asked an order to wait. The URL is in the request to the service, and its " +
    "token is for that request alone. Safe to repeat: the first result is kept.",
  request: { params: tokenPath, body: operationResult },
  answers: {
    204: { description: "The result is stored, and the order goes on" },
    503: problemAnswer("MySQL is unavailable. Try again after `Retry-After` seconds"),
  },
  failures: [404, 409, 410],
  handler: async ({ params: { token }, body, response }, { callbacks, operations }) => {
    const stored = await callbacks.store(token, runAnswer.parse(body));
    if (stored.taken === "unknown") throw noSuch("operation", token);
    const { taken, orderId, stage } = stored;
    if (taken === "over") throw new Problem(410, "operation-over", { orderId });
    if (taken === "used") throw new Problem(409, "operation-answered", { orderId });
    // Also for one that came before: the process may have died in between.
    await afterwards(() => operations.goOn(orderId, [stage], `stage ${stage}`));
    response.status(204).end();
  },
});
