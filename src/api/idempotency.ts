import type { Request, Response } from "express";
import { z } from "zod";
import { clientOf } from "./auth.ts";
import { idempotencyKey } from "./schemas.ts";
import { parseParameters } from "./validate.ts";

const headers = z.object({ "Idempotency-Key": idempotencyKey });

/** The request's `Idempotency-Key`, with whose it is; undefined without one. @throws {Problem} 400 for a malformed one. */
export function keyOf(
  request: Request,
  response: Response,
): { readonly client: string; readonly key: string } | undefined {
  const sent = request.get("idempotency-key");
  if (sent === undefined) return undefined;
  const { "Idempotency-Key": key } = parseParameters(headers, { "Idempotency-Key": sent });
  return { client: clientOf(response), key };
}

/** Has the client know that an earlier request under the same key did what was asked for. */
export function tellRepeated(response: Response, repeated: boolean): void {
  if (repeated) response.set("Idempotent-Replayed", "true");
}
