/**
 * Rounding errors of programs that used floats: they write 9.95 as 9.949999999999999 and 8.47 as
 * 8.470000000000001.
 */
const FLOAT_ERROR_BELOW = /^9{7}/;
const FLOAT_ERROR_ABOVE = /^0{7}/;

/** An amount in pence, or why the text is not one. */
export type Pence =
  | { readonly ok: true; readonly pence: number }
  | { readonly ok: false; readonly why: "not a number" | "not whole pence" | "too large" };

/**
 * Parses an amount in pounds as pence, without using floats: `2.1` is 210, `3.390` is 339, `-0.05` is -5.
 * Undoes another program's float error (seven nines or zeros after the pence), and refuses any other fraction
 * of a penny rather than rounding it.
 */
export function penceOf(text: string): Pence {
  const match = /^(-?)(\d+)(?:\.(\d+))?$/.exec(text);
  if (!match) return { ok: false, why: "not a number" };
  const [, sign, whole = "", decimals = ""] = match;
  const beyond = decimals.slice(2);
  let pence = BigInt(whole + decimals.slice(0, 2).padEnd(2, "0"));
  if (FLOAT_ERROR_BELOW.test(beyond)) pence += 1n;
  else if (!/^0*$/.test(beyond) && !FLOAT_ERROR_ABOVE.test(beyond))
    return { ok: false, why: "not whole pence" };
  if (pence > BigInt(Number.MAX_SAFE_INTEGER)) return { ok: false, why: "too large" };
  // Avoid `-0`.
  return { ok: true, pence: sign && pence > 0n ? -Number(pence) : Number(pence) };
}

/** Formats pence: `£1,234.50`. */
export function pounds(pence: bigint): string {
  const digits = (pence < 0n ? -pence : pence).toString().padStart(3, "0");
  const whole = BigInt(digits.slice(0, -2)).toLocaleString("en-GB");
  return `${pence < 0n ? "-" : ""}£${whole}.${digits.slice(-2)}`;
}
