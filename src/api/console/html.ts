/**
 * HTML that is escaped by construction: the template is HTML, interpolated values are text unless they come
 * from another template. Thirty lines instead of a library, because the small ones (lit-html, uhtml) target
 * browsers, and JSX would need a runtime and compiler settings in every tool.
 */
export class Html {
  readonly #text: string;

  private constructor(text: string) {
    this.#text = text;
  }

  /** The only constructor: the literal parts always come from source code. */
  static of(strings: TemplateStringsArray, values: readonly Content[]): Html {
    let text = strings[0] ?? "";
    for (const [index, value] of values.entries()) {
      // An unquoted attribute would end at the first space in its value.
      if (text.endsWith("=")) throw new Error("quote the attribute's value");
      text += textOf(value) + (strings[index + 1] ?? "");
    }
    return new Html(text);
  }

  toString(): string {
    return this.#text;
  }
}

/** Values for a template. `undefined`, `null` and `false` render as nothing. */
export type Content = Html | string | number | undefined | null | false | readonly Content[];

/** Renders a template: html`<b title="${title}">${text}</b>`. */
export function html(strings: TemplateStringsArray, ...values: Content[]): Html {
  return Html.of(strings, values);
}

function textOf(value: Content): string {
  if (value === undefined || value === null || value === false) return "";
  if (value instanceof Html) return value.toString();
  if (typeof value === "string")
    return value.replaceAll(/[&<>"']/g, (character) => ENTITIES[character] ?? "");
  if (typeof value === "number") return String(value);
  return value.map(textOf).join("");
}

const ENTITIES: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&#39;",
};

/** A path with a query string; skips undefined and empty parameters. */
export function href(
  path: string,
  query: Readonly<Record<string, string | number | undefined>> = {},
): string {
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries(query))
    if (value !== undefined && value !== "") parameters.set(name, String(value));
  const text = parameters.toString();
  return text === "" ? path : `${path}?${text}`;
}
