import { Webhook } from "standardwebhooks";

/** The headers of Standard Webhooks. */
export type SignedHeaders = Readonly<
  Record<"webhook-id" | "webhook-timestamp" | "webhook-signature", string>
>;

/**
 * Signs a message by Standard Webhooks (https://www.standardwebhooks.com). Send exactly these bytes.
 *
 * @param secrets each `whsec_` and base64; one signature each, so that a receiver may know either while one is replaced
 */
export function sign(
  secrets: readonly string[],
  { id, at, body }: { readonly id: string; readonly at: Date; readonly body: string },
): SignedHeaders {
  return {
    "webhook-id": id,
    "webhook-timestamp": String(Math.floor(at.getTime() / 1_000)),
    "webhook-signature": secrets.map((secret) => new Webhook(secret).sign(id, at, body)).join(" "),
  };
}
