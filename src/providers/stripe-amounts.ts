import { CURRENCIES, moneyText } from "../order/money.ts";
import { RequestRefusedError } from "../order/ports.ts";

/* What Stripe's API calls an amount, and which it takes: https://docs.stripe.com/currencies, as of 2026-11. */

/** What Stripe counts in other units than ISO 4217: amounts are multiplied by this. `#special-cases` */
const SCALE: Readonly<Record<string, number>> = { ISK: 100, UGX: 100, MGA: 1 / 100 };

/**
 * The least that can be charged, in minor units: `#minimum-and-maximum-charge-amounts`. It holds for accounts that are paid
 * out in this currency; for others it is about as much in theirs.
 */
const LEAST: Readonly<Record<string, number>> = {
  AED: 200,
  ARS: 50,
  AUD: 50,
  BRL: 50,
  CAD: 50,
  CHF: 50,
  COP: 50,
  CZK: 1_500,
  DKK: 250,
  EUR: 50,
  GBP: 30,
  HKD: 400,
  HUF: 17_500,
  IDR: 50,
  ILS: 50,
  INR: 50,
  JPY: 50,
  KRW: 50,
  MXN: 1_000,
  MYR: 200,
  NOK: 300,
  NZD: 50,
  PHP: 50,
  PLN: 200,
  RON: 200,
  RUB: 50,
  SEK: 300,
  SGD: 50,
  THB: 1_000,
  USD: 50,
  ZAR: 50,
};

/** Twelve digits, by card. Other methods take less, most of them eight digits: how the customer pays is not known yet. */
const MOST = 999_999_999_999;

/**
 * Why Stripe can't move an amount in minor units by ISO 4217; undefined if it can.
 *
 * @param what a refund may be as small as the currency's steps.
 */
export function faultOfAmount(
  amount: number,
  currency: string,
  what: "payment" | "refund",
): string | undefined {
  const step = stepOf(currency);
  const least = what === "payment" ? (LEAST[currency] ?? 0) : 0;
  const most = Math.floor(MOST / (SCALE[currency] ?? 1));
  const taken =
    amount % step > 0
      ? `${currency} in multiples of ${step} minor units only`
      : amount < least
        ? `no payments of less than ${plain(least, currency)}`
        : amount > most
          ? `no more than ${plain(most, currency)}`
          : undefined;
  return taken && `Stripe takes ${taken}, and this is ${plain(amount, currency)}`;
}

/** From minor units by ISO 4217 to Stripe's. @throws {RequestRefusedError} for parts that Stripe can't move */
export function toStripe(amount: number, currency: string): number {
  if (amount % stepOf(currency) > 0)
    throw new RequestRefusedError(faultOfAmount(amount, currency, "refund") ?? "");
  return Math.round(amount * (SCALE[currency] ?? 1));
}

export function fromStripe(amount: number, currency: string): number {
  return Math.round(amount / (SCALE[currency] ?? 1));
}

/** The least that Stripe charges, in its own units. @param currency as Stripe writes it: `eur` */
export function leastAtStripe(currency: string): number {
  const code = currency.toUpperCase();
  return Math.round((LEAST[code] ?? 1) * (SCALE[code] ?? 1));
}

/** Whatever a currency's smallest unit is, card networks take no thousandth parts. Minor units. */
function stepOf(currency: string): number {
  return CURRENCIES.get(currency) === 3 ? 10 : 1 / Math.min(1, SCALE[currency] ?? 1);
}

/** With a plain space: the texts go into JSON and logs. */
function plain(amount: number, currency: string): string {
  return moneyText(amount, currency).replaceAll("\u00a0", " ");
}
