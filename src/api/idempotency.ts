import type { Response } from "express";
import { z } from "zod";
import { clientOf } from "./auth.ts";
import { idempotencyKey } from "./schemas.ts";

/** The headers of a request that its client may repeat. */
export const idempotencyHeaders = z.object({ "Idempotency-Key": idempotencyKey.optional() });

/** The header of an answer to such a request. */
export const REPLAYED = {
  "Idempotent-Replayed": {
    description: "`true` if this is the answer of an earlier request with the same key",
    schema: { type: "string" },
  },
};

/** Says of an operation that it needs no key. */
export const REPEATABLE = "Safe to repeat, so it takes no `Idempotency-Key`";

/** The request's `Idempotency-Key`, with whose it is; undefined without one. */
export function keyOf(
  { "Idempotency-Key": key }: z.output<typeof idempotencyHeaders>,
  response: Response,
): { readonly client: string; readonly key: string } | undefined {
  return key === undefined ? undefined : { client: clientOf(response), key };
}

/** Has the client know that an earlier request under the same key did what was asked for. */
export function tellRepeated(response: Response, repeated: boolean): void {
  if (repeated) response.set("Idempotent-Replayed", "true");
}
