import { problem, type Answer, type Call } from "../call.ts";
import type { StripeSimulator } from "./stripe.ts";
import { webhookSettings } from "./webhooks.ts";

/** `GET` and `PUT /webhooks`: where the simulated Stripe sends its webhooks, and how they fare on the way. */
export function stripeControls({ webhooks }: StripeSimulator) {
  return ({ method, path, body }: Pick<Call, "method" | "path" | "body">): Answer | undefined => {
    if (path !== "/webhooks") return undefined;
    if (method === "GET") return { status: 200, body: { ...webhooks.settings, secret: "[secret]" } };
    if (method !== "PUT") return undefined;
    const wanted = webhookSettings.safeParse(
      typeof body === "object" ? { ...webhooks.settings, ...body } : body,
    );
    if (!wanted.success) return problem(400, wanted.error.message);
    webhooks.settings = wanted.data;
    return { status: 200, body: { ...webhooks.settings, secret: "[secret]" } };
  };
}
