const QUOTE = 0x22;
const COMMA = 0x2c;
const OPEN_LIST = 0x5b;
const BACKSLASH = 0x5c;
const CLOSE_LIST = 0x5d;
const OPEN_OBJECT = 0x7b;
const CLOSE_OBJECT = 0x7d;

/**
 * The first name that stands twice in one object of a JSON text; undefined if none does. RFC 8259 leaves open which of the
 * two values counts: JSON.parse takes the last one, and a proxy or another reader of the same body may take the first.
 *
 * @param text need not be JSON: then the answer means nothing.
 */
export function repeatedName(text: string): string | undefined {
  /** The names so far of each object that is open, and undefined for each list. */
  const open: (Set<string> | undefined)[] = [];
  let isNameNext = false;
  for (let at = 0; at < text.length; at++) {
    switch (text.charCodeAt(at)) {
      case OPEN_OBJECT:
        open.push(new Set());
        isNameNext = true;
        break;
      case OPEN_LIST:
        open.push(undefined);
        isNameNext = false;
        break;
      case CLOSE_OBJECT:
      case CLOSE_LIST:
        open.pop();
        isNameNext = false;
        break;
      case COMMA:
        isNameNext = open.at(-1) !== undefined;
        break;
      case QUOTE: {
        const end = endOfString(text, at);
        if (isNameNext) {
          const name = nameOf(text.slice(at, end + 1));
          const names = open.at(-1);
          if (name !== undefined && names?.has(name)) return name;
          if (name !== undefined) names?.add(name);
          isNameNext = false;
        }
        at = end;
        break;
      }
    }
  }
  return undefined;
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
