const LONGEST_QUOTE = 40;

/** Makes untrusted text safe to print: quoted, shortened, and without control characters. */
export function shown(text: string): string {
  const cut = text.length > LONGEST_QUOTE ? `${text.slice(0, LONGEST_QUOTE)}…` : text;
  return JSON.stringify(printable(cut));
}

/** Replaces control characters, which a terminal would obey, by dots. */
export function printable(text: string): string {
  return text.toWellFormed().replaceAll(/[\p{Cc}\p{Cf}\u2028\u2029]/gu, "·");
}

/** `1 order`, `1,234 orders`. */
export function counted(count: number, one: string, many = `${one}s`): string {
  return `${grouped(count)} ${count === 1 ? one : many}`;
}

/** `1,234,567`. */
export function grouped(count: number): string {
  return count.toLocaleString("en-GB");
}

/** An error's message. Avoids `instanceof`: under some test runners Node's own errors come from another realm. */
export function messageOf(error: unknown): string {
  const isError = typeof error === "object" && error !== null && "message" in error;
  return isError ? String(error.message) : String(error);
}
