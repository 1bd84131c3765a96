const REDACTED = "[redacted]";
/** A shorter piece of base64 or hexadecimal digits would be found in unrelated words. */
const SHORTEST_ENCODED = 8;

/** So is a shorter text. */
const SHORTEST_PLAIN = 4;

/** Escapes of JSON and other languages' texts, also within one another; of URLs, also twice; and of HTML. */
const ESCAPES =
  /\\+(?:u[0-9a-f]{4}|x[0-9a-f]{2}|["\\/bfnrt])|(?:%(?:25)*[0-9a-f]{2})+|&(?:#\d{1,7}|#x[0-9a-f]{1,6}|[a-z]{2,4});/gi;
const CONTROLS: Readonly<Record<string, string>> = { b: "\b", f: "\f", n: "\n", r: "\r", t: "\t" };
const ENTITIES: Readonly<Record<string, string>> = { amp: "&", lt: "<", gt: ">", quot: '"', apos: "'" };

/**
 * Takes secrets out of a text, however they are written there: in another case, escaped for JSON (also within JSON), HTML
 * or a URL (also in part, or twice), in hexadecimal digits, or in base64, with whatever stands before them
 * (`user:secret`), and in base64 of base64. Not what is encrypted, compressed, cut in pieces or lines, or escaped before it
 * is encoded.
 */
export function redactor(secrets: readonly string[]): (text: string) => string {
  const spellings = secrets.flatMap(spellingsOf).map(folded);
  return (text) => {
    const { plain, starts } = unescaped(text);
    const where = folded(plain);
    const found = spellings.flatMap((spelling) => placesOf(spelling, where));
    if (found.length === 0) return text;
    let rest = "";
    let end = 0;
    for (const [from, to] of found.toSorted(([a], [b]) => a - b)) {
      const start = starts?.[from] ?? from;
      if (start >= end) rest += text.slice(end, start) + REDACTED;
      end = Math.max(end, starts?.[to] ?? to);
    }
    return rest + text.slice(end);
  };
}

/** As it is, also without what looks like an escape in it; encoded, and encoded twice. */
function spellingsOf(secret: string): string[] {
  if (secret === "") return [];
  const { plain } = unescaped(secret);
  const once = encodingsOf(secret);
  return [secret, ...(plain.length < SHORTEST_PLAIN ? [] : [plain]), ...once, ...once.flatMap(encodingsOf)];
}

/** In hexadecimal digits, and in base64. */
function encodingsOf(text: string): string[] {
  const bytes = Buffer.from(text);
  const encoded = [bytes.toString("hex"), ...[0, 1, 2].map((before) => base64Of(bytes, before))];
  return encoded.filter(({ length }) => length >= SHORTEST_ENCODED);
}

/** The base64 digits that the bytes alone decide, with so many other bytes before them. */
function base64Of(bytes: Buffer, before: number): string {
  const digits = Buffer.concat([Buffer.alloc(before), bytes]).toString("base64");
  return digits.slice(Math.ceil((before * 4) / 3), Math.floor(((before + bytes.length) * 4) / 3));
}

/** In one case, in one of base64's two alphabets, with `+` for a space as in forms, and of the same length. */
function folded(text: string): string {
  const lower = text.toLowerCase();
  const same =
    lower.length === text.length ? lower : text.replaceAll(/[A-Z]+/g, (part) => part.toLowerCase());
  return same.replaceAll(/[- ]/g, "+").replaceAll("_", "/");
}

function placesOf(part: string, text: string): [from: number, to: number][] {
  const places: [number, number][] = [];
  for (let at = text.indexOf(part); at >= 0; at = text.indexOf(part, at + part.length))
    places.push([at, at + part.length]);
  return places;
}

/** A text without escapes. `starts`: where in it each UTF-16 unit began, and its end; undefined if there are none. */
function unescaped(text: string): { readonly plain: string; readonly starts?: readonly number[] } {
  let plain = "";
  let end = 0;
  const starts: number[] = [];
  const add = (part: string, at: number, step: number) => {
    for (let unit = 0; unit < part.length; unit++) starts.push(at + unit * step);
    plain += part;
  };
  for (const { 0: escape, index } of text.matchAll(ESCAPES)) {
    add(text.slice(end, index), end, 1);
    end = index;
    for (const [part, length] of decoded(escape)) {
      add(part, end, 0);
      end += length;
    }
  }
  if (end === 0) return { plain: text };
  add(text.slice(end), end, 1);
  return { plain, starts: [...starts, text.length] };
}

/** The characters that escapes stand for, each with the length of its own. */
function decoded(escape: string): (readonly [part: string, length: number])[] {
  if (escape.startsWith("%")) return decodedBytes(escape.match(/%(?:25)*[0-9a-f]{2}/gi) ?? []);
  const [, unicode, byte, quoted, code, hexCode, name = ""] =
    /^(?:\\+u(.{4})|\\+x(.{2})|\\+(.)|&#(\d+);|&#x(.+);|&(\w+);)$/i.exec(escape) ?? [];
  const unit = unicode ?? byte;
  if (unit !== undefined) return [[String.fromCharCode(parseInt(unit, 16)), escape.length]];
  if (quoted !== undefined) return [[CONTROLS[quoted] ?? quoted, escape.length]];
  const point = code === undefined ? parseInt(hexCode ?? "", 16) : Number(code);
  const character = point <= 0x10_ff_ff ? String.fromCodePoint(point) : ENTITIES[name.toLowerCase()];
  return [[character ?? escape, escape.length]];
}

function decodedBytes(escapes: readonly string[]): (readonly [string, number])[] {
  const bytes = Buffer.from(escapes.map((each) => parseInt(each.slice(-2), 16)));
  let at = 0;
  return Array.from(bytes.toString("utf8"), (character) => {
    // A byte that is no UTF-8 became a replacement character.
    const size = character === "\ufffd" ? 1 : Buffer.byteLength(character);
    const length = escapes.slice(at, at + size).join("").length;
    at += size;
    return [character, length] as const;
  });
}
