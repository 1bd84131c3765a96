const QUOTE = 0x22;
const COMMA = 0x2c;
const OPEN_LIST = 0x5b;
const BACKSLASH = 0x5c;
const CLOSE_LIST = 0x5d;
const OPEN_OBJECT = 0x7b;
const CLOSE_OBJECT = 0x7d;

/** An object or list that is being read. */
interface Opened {
  /** Of an object. */
  readonly names?: Set<string>;
  /** The name or the place that is read. */
  at: string | number;
}

/**
 * The names that an object of a JSON text has more than once, such as `pipeline[1].http.url`. RFC 8259 leaves open which of
 * the values counts: JSON.parse takes the last one, and a proxy or another reader of the same text may take the first.
 *
 * @param text need not be JSON: then the answer means nothing.
 */
export function repeatedNames(text: string): string[] {
  const found: string[] = [];
  /** Outermost first. */
  const open: Opened[] = [];
  let isNameNext = false;
  for (let at = 0; at < text.length; at++) {
    switch (text.charCodeAt(at)) {
      case OPEN_OBJECT:
        open.push({ names: new Set(), at: "" });
        isNameNext = true;
        break;
      case OPEN_LIST:
        open.push({ at: 0 });
        isNameNext = false;
        break;
      case CLOSE_OBJECT:
      case CLOSE_LIST:
        open.pop();
        isNameNext = false;
        break;
      case COMMA: {
        const inner = open.at(-1);
        isNameNext = inner?.names !== undefined;
        if (typeof inner?.at === "number") inner.at++;
        break;
      }
      case QUOTE: {
        const end = endOfString(text, at);
        const inner = open.at(-1);
        const name = isNameNext ? nameOf(text.slice(at, end + 1)) : undefined;
        if (name !== undefined && inner?.names !== undefined) {
          inner.at = name;
          if (inner.names.has(name)) found.push(pathOf(open.map((each) => each.at)).replace(/^\./, ""));
          inner.names.add(name);
        }
        isNameNext = false;
        at = end;
        break;
      }
    }
  }
  return found;
}

/** Where the string that begins here ends: at its closing quote, or behind the text if it has none. */
function endOfString(text: string, start: number): number {
  let at = start + 1;
  while (at < text.length && text.charCodeAt(at) !== QUOTE) at += text.charCodeAt(at) === BACKSLASH ? 2 : 1;
  return at;
}

/** A name without its quotes and escapes: `"\u0061"` is `a`. */
function nameOf(quoted: string): string | undefined {
  if (!quoted.includes("\\")) return quoted.slice(1, -1);
  try {
    return String(JSON.parse(quoted));
  } catch {
    return undefined;
  }
}

/** The way from an object to a place in it, as JavaScript writes it: `.pipeline[1].http.url`. */
export function pathOf(parts: readonly PropertyKey[]): string {
  return parts.map((part) => (typeof part === "number" ? `[${part}]` : `.${String(part)}`)).join("");
}
