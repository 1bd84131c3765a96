import { randomBytes } from "node:crypto";
import { validSecrets, type PreviousSecrets } from "../../../db/previous-secrets.ts";
import { sign, type SignedHeaders } from "../../platform/signature.ts";

/** Standard Webhooks recommends 24 to 64. */
const SECRET_BYTES = 32;

/** A new secret for an endpoint: `whsec_` and base64. */
export function newSecret(): string {
  return `whsec_${randomBytes(SECRET_BYTES).toString("base64")}`;
}

/** An endpoint's signing secrets. */
export interface Secrets extends PreviousSecrets {
  readonly secret: string;
}

/** The Standard Webhooks headers, signed with every secret valid at that time. */
export function signedHeaders(
  secrets: Secrets,
  message: { readonly id: string; readonly at: Date; readonly body: string },
): SignedHeaders {
  const previous = validSecrets(secrets, message.at).map(({ secret }) => secret);
  return sign([secrets.secret, ...previous], message);
}
