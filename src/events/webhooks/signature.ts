import { randomBytes } from "node:crypto";
import { Webhook } from "standardwebhooks";

/** As the specification of Standard Webhooks recommends: between 24 and 64. */
const SECRET_BYTES = 32;

/** A new secret for an endpoint: `whsec_` and base64. */
export function newSecret(): string {
  return `whsec_${randomBytes(SECRET_BYTES).toString("base64")}`;
}

/** What an endpoint is signed with. */
export interface Secrets {
  readonly secret: string;
  readonly previousSecret: string | null;
  readonly previousSecretUntil: Date | null;
}

/** The headers of Standard Webhooks, signed with every secret that is valid at that time. */
export function signedHeaders(
  secrets: Secrets,
  { id, at, body }: { readonly id: string; readonly at: Date; readonly body: string },
): Readonly<Record<"webhook-id" | "webhook-timestamp" | "webhook-signature", string>> {
  const { secret, previousSecret, previousSecretUntil } = secrets;
  const isValid = previousSecret !== null && previousSecretUntil !== null && previousSecretUntil > at;
  const valid = isValid ? [secret, previousSecret] : [secret];
  return {
    "webhook-id": id,
    "webhook-timestamp": String(Math.floor(at.getTime() / 1_000)),
    "webhook-signature": valid.map((each) => new Webhook(each).sign(id, at, body)).join(" "),
  };
}
