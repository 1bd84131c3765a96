import type { Answer } from "../call.ts";
import type { FieldFault, Json } from "./shapes.ts";

/* EasyPost's answers: what was asked for, or an error with a code. */

export const NOT_FOUND = fault(404, "NOT_FOUND", "The requested resource could not be found.");
/** Why there are no rates for a parcel to another country. */
export const NO_CUSTOMS = {
  carrier: "USPS",
  type: "rate_error",
  message: "customs_info is required for international shipments",
  carrier_account_id: "ca_5ba7ca3632c54adeb17ad4bcac13c890",
};

/** Ounces that USPS takes at most: 70 pounds. */
export const HEAVIEST = 1_120;
/** Why there are none for one that weighs more. */
export const TOO_HEAVY = { ...NO_CUSTOMS, message: "Parcel weight exceeds the maximum of 70 lbs" };

export function ok(body: Json): { readonly status: number; readonly body: Json } {
  return { status: 200, body };
}

export function fault(status: number, code: string, message: string, errors: readonly object[] = []): Answer {
  return { status, body: { error: { code, message, errors } } };
}

export function missing(field: string): Answer {
  return fault(422, "PARAMETER.REQUIRED", "Missing required parameter.", [
    { field, message: "cannot be blank" },
  ]);
}

export function undeliverable(errors: readonly FieldFault[]): Answer {
  return fault(422, "ADDRESS.VERIFY.FAILURE", "Unable to verify address.", errors);
}
