/** Describes an error in one line, for a log. */
export function describeError(error: unknown): string {
  return inOneLine(error instanceof Error ? `${error.name}: ${error.message}` : String(error));
}

/** What an error says, in one line, for people. */
export function messageOf(error: unknown): string {
  return inOneLine(error instanceof Error ? error.message : String(error));
}

function inOneLine(text: string): string {
  return text.replaceAll(/\s*\n\s*/g, " ").trim();
}
