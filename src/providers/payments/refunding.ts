import { timestamp } from "../../platform/clock.ts";
import { offTheClock } from "../../platform/time-limit.ts";
import {
  RequestRefusedError,
  ServiceFailedError,
  type PaymentProvider,
  type ProviderRefund,
} from "../../order/ports.ts";
import { referenceOf, type Payment, type Refund } from "../../order/payment.ts";
import type { Books } from "./books.ts";

/** How soon a refund that a provider has taken on is looked at again, if no webhook comes. Milliseconds. */
const LOOK_AGAIN_MS = 5 * 60_000;

/**
 * Pays back what a refund says. Looks it up first if it was asked for before, so that a provider that has forgotten the
 * key pays nothing back twice.
 *
 * @returns the refund as it is then: PENDING if the provider takes its time.
 * @throws what the provider throws; {@link RequestRefusedError} if it belongs to another provider
 */
export async function payBack(
  { provider, books }: { readonly provider: PaymentProvider; readonly books: Books },
  refund: Refund,
  payment: Payment,
  signal: AbortSignal,
): Promise<Refund> {
  if (refund.state !== "PENDING") return refund;
  const { providerId, amount, spentKeys, attempts } = refund;
  const change = (changes: Parameters<Books["changeRefund"]>[1]) =>
    offTheClock(signal, () => books.changeRefund(refund, changes));
  // Only its pieces come back: there is nothing to ask the provider for.
  if (amount === 0) return (await change({ state: "SUCCEEDED" })) ?? refund;
  mustBeOf(provider, payment);
  const about = { ...namedRefund(refund, payment), signal };
  const known = attempts > 0 ? await provider.findRefund({ ...about, refundId: providerId }) : undefined;
  let answer: ProviderRefund;
  if (known) answer = known;
  else {
    if (attempts === 0) await change({ attempts: 1 });
    try {
      answer = await provider.refund({
        ...about,
        amount,
        key: spentKeys === 0 ? about.reference : `${about.reference}:${spentKeys}`,
      });
    } catch (error) {
      if (error instanceof ServiceFailedError) await change({ spentKeys: spentKeys + 1 });
      throw error;
    }
  }
  const now = await change({
    providerId: answer.id,
    attempts: attempts + 1,
    ...(answer.state === "succeeded" && { state: "SUCCEEDED" as const, failure: null }),
    ...(answer.state === "failed" && { state: "FAILED" as const, failure: answer.reason }),
    ...(answer.state === "pending" && { dueAt: new Date(timestamp().getTime() + LOOK_AGAIN_MS) }),
  });
  if (now === undefined) return refund;
  // A webhook came while the provider was asked: what it answered may be out of date.
  const isWoken = now.state === "SUCCEEDED" && now.dueAt.getTime() !== refund.dueAt.getTime();
  return isWoken ? lookAgain({ provider, books }, now, payment, signal) : now;
}

/**
 * Asks whether a refund that had succeeded has failed since: a bank may send the money back weeks later.
 *
 * @returns the refund as it is then. @throws what the provider throws
 */
export async function lookAgain(
  { provider, books }: { readonly provider: Pick<PaymentProvider, "findRefund">; readonly books: Books },
  refund: Refund,
  payment: Payment,
  signal: AbortSignal,
): Promise<Refund> {
  const about = { ...namedRefund(refund, payment), refundId: refund.providerId, signal };
  const answer = await provider.findRefund(about);
  if (answer?.state !== "failed") return refund;
  const failed = { state: "FAILED", failure: answer.reason } as const;
  return (await offTheClock(signal, () => books.changeRefund(refund, failed))) ?? refund;
}

/** What names a refund at its provider. */
function namedRefund({ orderId, id, currency, cause }: Refund, payment: Payment) {
  const paid = referenceOf(payment);
  return {
    orderId,
    reference: cause === "cancelled" ? `${paid}:undo` : id,
    currency,
    payment: { id: payment.providerId ?? paid, reference: paid },
  };
}

/** @throws {RequestRefusedError} for a payment that was made with another provider than the one in use. */
export function mustBeOf({ name }: PaymentProvider, { orderId, provider }: Payment): void {
  if (provider !== name)
    throw new RequestRefusedError(
      `order ${orderId} was paid with ${provider}, and the payment provider is ${name}`,
    );
}
