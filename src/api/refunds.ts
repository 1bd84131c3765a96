import { hash } from "node:crypto";
import type { Response } from "express";
import type { z } from "zod";
import type { StoredOrder } from "../order/order.ts";
import type { Refund } from "../order/payment.ts";
import { RefundRefusedError } from "../providers/payments/refunds.ts";
import { actorOf } from "./auth.ts";
import type { refundRequest } from "./payment-schemas.ts";
import { Problem } from "./problem.ts";
import type { Services } from "./services.ts";

/**
 * Writes a refund down, for the API and the console.
 *
 * @param key makes the request safe to repeat.
 * @throws {Problem} 409 if so much is not left. @throws {RefundKeyReusedError} {StorageError}
 */
export async function requestRefund(
  { refunds }: Pick<Services, "refunds">,
  order: StoredOrder,
  body: z.output<typeof refundRequest>,
  by: { readonly response: Response; readonly key: { client: string; key: string } | undefined },
): Promise<{ readonly refund: Refund; readonly repeated: boolean }> {
  const requestHash = hash("sha256", JSON.stringify(body), "base64");
  const idempotency = by.key && { ...by.key, requestHash };
  try {
    return await refunds.request(order, { ...body, actor: actorOf(by.response), idempotency });
  } catch (error) {
    if (!(error instanceof RefundRefusedError)) throw error;
    throw new Problem(409, "not-refundable", {
      detail: error.message,
      orderId: order.id,
      orderStatus: order.status,
    });
  }
}
