import type { Response } from "express";
import { z } from "zod";
import { clientOf } from "./auth.ts";
import { idempotencyKey } from "./schemas.ts";

/** Request headers of an operation with an idempotency key. */
export const idempotencyHeaders = z.object({ "Idempotency-Key": idempotencyKey.optional() });

/** Response headers of such an operation. */
export const REPLAYED = {
  "Idempotent-Replayed": {
    description: "`true` if this is the answer of an earlier request with the same key",
    schema: { type: "string" },
  },
};

/** Documents an operation that needs no key. */
export const REPEATABLE = "Safe to repeat, so it takes no `Idempotency-Key`";

/** The request's idempotency key and client; undefined without a key. */
export function keyOf(
  { "Idempotency-Key": key }: z.output<typeof idempotencyHeaders>,
  response: Response,
): { readonly client: string; readonly key: string } | undefined {
  return key === undefined ? undefined : { client: clientOf(response), key };
}

/** Tells the client that an earlier request with the same key did the work. */
export function tellRepeated(response: Response, repeated: boolean): void {
  if (repeated) response.set("Idempotent-Replayed", "true");
}
