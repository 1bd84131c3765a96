/** What matters in JSON: strings, names with their colon, and where objects and lists begin, go on and end. */
const TOKENS = /("(?:[^"\\]|\\.)*")(\s*:)?|[{}[\],]/g;

/**
 * The names that an object of a JSON text has more than once, of which JSON.parse keeps the last, such as
 * `pipeline[1].http.url`.
 *
 * @param json valid JSON
 */
export function repeatedNames(json: string): string[] {
  const found: string[] = [];
  /** The objects and lists that are open, outermost first, each with the name or the place where it is read. */
  const open: { readonly names: Set<string>; at: string | number }[] = [];
  for (const [token, text, colon] of json.matchAll(TOKENS)) {
    const inner = open.at(-1);
    if (token === "{" || token === "[") open.push({ names: new Set(), at: 0 });
    else if (token === "}" || token === "]") open.pop();
    else if (token === "," && typeof inner?.at === "number") inner.at++;
    else if (text !== undefined && colon !== undefined && inner !== undefined) {
      inner.at = String(JSON.parse(text));
      if (inner.names.has(inner.at)) found.push(pathOf(open.map(({ at }) => at)).slice(1));
      inner.names.add(inner.at);
    }
  }
  return found;
}

/** The way from an object to a place in it, as JavaScript writes it: `.pipeline[1].http.url`. */
export function pathOf(parts: readonly PropertyKey[]): string {
  return parts.map((part) => (typeof part === "number" ? `[${part}]` : `.${String(part)}`)).join("");
}
