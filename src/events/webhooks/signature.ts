import { randomBytes } from "node:crypto";
import { Webhook } from "standardwebhooks";

/** Standard Webhooks recommends 24 to 64. */
const SECRET_BYTES = 32;

/** A new secret for an endpoint: `whsec_` and base64. */
export function newSecret(): string {
  return `whsec_${randomBytes(SECRET_BYTES).toString("base64")}`;
}

/** An endpoint's signing secrets. */
export interface Secrets {
  readonly secret: string;
  readonly previousSecret: string | null;
  readonly previousSecretUntil: Date | null;
}

/** The Standard Webhooks headers, signed with every secret valid at that time. */
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
