/**
 * HTML that is escaped by construction: what stands in a template is HTML, what is put into it is text, unless it is the
 * result of another template. Thirty lines instead of a library, since those that are small enough (lit-html, uhtml)
 * are made for browsers, and JSX would need a runtime and a compiler's setting in every tool.
 */
export class Html {
  readonly #text: string;

  private constructor(text: string) {
    this.#text = text;
  }

  /** The only way to make one: the parts are the source's own. */
  static of(strings: TemplateStringsArray, values: readonly Content[]): Html {
    let text = strings[0] ?? "";
    for (const [index, value] of values.entries()) {
      // What ends with `=` would be an attribute without quotes, which a space in the value ends.
      if (text.endsWith("=")) throw new Error("an attribute's value stands in quotes");
      text += textOf(value) + (strings[index + 1] ?? "");
    }
    return new Html(text);
  }

  toString(): string {
    return this.#text;
  }
}

/** What can be put into a template. `undefined`, `null` and `false` are nothing. */
export type Content = Html | string | number | undefined | null | false | readonly Content[];

/** HTML with content put in: html`<b title="${title}">${text}</b>`. */
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

/** A path of this service with a query; what is undefined or empty is left out. */
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
