const LONGEST_QUOTE = 40;

/** Foreign text as it may stand in a line on the terminal: quoted, cut, and without control characters. */
export function shown(text: string): string {
  const cut = text.length > LONGEST_QUOTE ? `${text.slice(0, LONGEST_QUOTE)}…` : text;
  return JSON.stringify(printable(cut));
}

/** The text without what a terminal would obey: control characters become dots. */
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

/** What an error says. Errors of Node itself are of another realm under some runners: no `instanceof`. */
export function messageOf(error: unknown): string {
  const isError = typeof error === "object" && error !== null && "message" in error;
  return isError ? String(error.message) : String(error);
}
