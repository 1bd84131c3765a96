import { randomBytes } from "node:crypto";
import { sign, type SignedHeaders } from "../../platform/signature.ts";

/** Standard Webhooks recommends 24 to 64. */
const SECRET_BYTES = 32;

/** A new secret for an endpoint: `whsec_` and base64. */
export function newSecret(): string {
  return `whsec_${randomBytes(SECRET_BYTES).toString("base64")}`;
}

/** An endpoint's signing secrets. */
export interface Secrets {
  readonly secret: string;
  /** The last ones, separated by spaces. */
  readonly previousSecret: string | null;
  readonly previousSecretUntil: Date | null;
}

/** The Standard Webhooks headers, signed with every secret valid at that time. */
export function signedHeaders(
  { secret, previousSecret, previousSecretUntil }: Secrets,
  message: { readonly id: string; readonly at: Date; readonly body: string },
): SignedHeaders {
  const isValid = previousSecretUntil !== null && previousSecretUntil > message.at;
  return sign([secret, ...((isValid && previousSecret?.split(" ")) || [])], message);
}
