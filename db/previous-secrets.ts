/*
 * The secrets that a webhook endpoint had before, as one column has them: newest first, separated by spaces, all but the
 * newest with their own end behind a colon, in milliseconds since 1970. The newest one's end has a column of its own.
 */

/** So many: a receiver that still has the one before the last is not cut off, as after rotating twice by mistake. */
const MOST = 2;

interface PreviousSecret {
  readonly secret: string;
  readonly until: Date;
}

/** The columns. */
export interface PreviousSecrets {
  readonly previousSecret: string | null;
  readonly previousSecretUntil: Date | null;
}

/** Those that are valid at that time, newest first. */
export function validSecrets(
  { previousSecret, previousSecretUntil }: PreviousSecrets,
  at: Date,
): readonly PreviousSecret[] {
  if (previousSecret === null || previousSecretUntil === null) return [];
  return previousSecret
    .split(" ")
    .map((each) => {
      const [secret = "", until] = each.split(":");
      return { secret, until: until === undefined ? previousSecretUntil : new Date(Number(until)) };
    })
    .filter(({ until }) => until > at);
}

/** The columns after a secret was replaced, at that time. Those before it stay valid for no longer than they would have. */
export function afterRotation(
  row: PreviousSecrets & { readonly secret: string },
  { at, until }: { readonly at: Date; readonly until: Date },
): PreviousSecrets {
  const earlier = validSecrets(row, at).map(({ secret, until: end }) => `${secret}:${end.getTime()}`);
  return {
    previousSecret: [row.secret, ...earlier].slice(0, MOST).join(" "),
    previousSecretUntil: until,
  };
}
