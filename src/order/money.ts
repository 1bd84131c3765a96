/*
 * Currencies and their minor units by ISO 4217, the one source for validation, the console, the client and the commands.
 * Not by Intl, whose digits differ for eighteen codes, and between versions of Node.
 *
 * List One as published on 2026-09-17, the newest in 2026-11. ANG, BGN and CUC, withdrawn in 2025 and 2026, are kept for the
 * orders that have them.
 */

/** Codes by the digits of their minor unit. */
const PUBLISHED: Readonly<Record<number, string>> = {
  0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
  2: `AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF CHE CHF
    CHW CNY COP COU CRC CUC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG
    HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK
    MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE
    SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD USN UYU UZS VED VES WST XAD XCD XCG YER ZAR ZMW
    ZWG`,
  3: "BHD IQD JOD KWD LYD OMR TND",
  4: "CLF UYW",
};

/** Codes to which minor units do not apply, such as gold: amounts are whole units. */
const WITHOUT_MINOR_UNIT = "XAG XAU XBA XBB XBC XBD XDR XPD XPT XSU XTS XUA XXX";

/** The digits of each currency's minor unit, by code. */
export const CURRENCIES: ReadonlyMap<string, number> = new Map(
  [...Object.entries(PUBLISHED), ["0", WITHOUT_MINOR_UNIT] as const].flatMap(([digits, codes]) =>
    codes.split(/\s+/).map((code) => [code, Number(digits)] as const),
  ),
);

/** An amount of minor units as people read it: `EUR 1,234.50`, with a no-break space. Exact for every safe integer. */
export function moneyText(amount: number | bigint, currency: string): string {
  // Orders from before this table may have a code that it lacks.
  const digits = CURRENCIES.get(currency) ?? 2;
  const [sign, units] = amount < 0 ? ["-", String(-amount)] : ["", String(amount)];
  const padded = units.padStart(digits + 1, "0");
  const whole = padded.slice(0, padded.length - digits).replaceAll(/\B(?=(?:\d{3})+$)/g, ",");
  return `${sign}${currency}\u00A0${whole}${digits > 0 ? `.${padded.slice(-digits)}` : ""}`;
}

/**
 * Reads what people write: `12`, `12.5` or `12.50`; a comma will do as well.
 *
 * @returns minor units; undefined for anything else, and for more digits than the currency has
 */
export function minorUnitsOf(text: string, currency: string): number | undefined {
  const digits = CURRENCIES.get(currency) ?? 2;
  const [, whole, part = ""] = /^(\d{1,15})(?:[.,](\d+))?$/.exec(text.trim()) ?? [];
  if (whole === undefined || part.length > digits) return undefined;
  const amount = Number(whole + part.padEnd(digits, "0"));
  return Number.isSafeInteger(amount) ? amount : undefined;
}
