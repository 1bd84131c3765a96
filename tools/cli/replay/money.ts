/**
 * Digits after the pence that are only the shadow of binary floating point: programs that went through a float write
 * 9.95 as 9.949999999999999 and 8.47 as 8.470000000000001.
 */
const FLOAT_SHADOW_BELOW = /^9{7}/;
const FLOAT_SHADOW_ABOVE = /^0{7}/;

/** What a decimal text is worth in pence, or why it is worth no whole number of them. */
export type Pence =
  | { readonly ok: true; readonly pence: number }
  | { readonly ok: false; readonly why: "not a number" | "not whole pence" | "too large" };

/**
 * Reads an amount in pounds as pence, digit by digit: `2.1` is 210, `3.390` is 339, `-0.05` is -5. The digits never
 * pass through a float; what an earlier program's float left behind (seven nines or zeros after the pence) is taken
 * for the pence it stands for, and any other fraction of a penny is refused rather than rounded.
 */
export function penceOf(text: string): Pence {
  const match = /^(-?)(\d+)(?:\.(\d+))?$/.exec(text);
  if (!match) return { ok: false, why: "not a number" };
  const [, sign, whole = "", decimals = ""] = match;
  const beyond = decimals.slice(2);
  let pence = BigInt(whole + decimals.slice(0, 2).padEnd(2, "0"));
  if (FLOAT_SHADOW_BELOW.test(beyond)) pence += 1n;
  else if (!/^0*$/.test(beyond) && !FLOAT_SHADOW_ABOVE.test(beyond))
    return { ok: false, why: "not whole pence" };
  if (pence > BigInt(Number.MAX_SAFE_INTEGER)) return { ok: false, why: "too large" };
  // Not `-0`: nothing costs less than nothing by nothing.
  return { ok: true, pence: sign && pence > 0n ? -Number(pence) : Number(pence) };
}

/** Pence as people write them: `£1,234.50`. */
export function pounds(pence: bigint): string {
  const digits = (pence < 0n ? -pence : pence).toString().padStart(3, "0");
  const whole = BigInt(digits.slice(0, -2)).toLocaleString("en-GB");
  return `${pence < 0n ? "-" : ""}£${whole}.${digits.slice(-2)}`;
}
