/** The value of a field of a form: a text, or what is written in brackets behind its name. */
export type FormValue = string | { readonly [name: string]: FormValue };
type Tree = { [name: string]: FormValue | Tree };

/** Parses a form as Stripe's SDK sends it: `metadata[order_id]=o1&expand[0]=latest_charge`. */
export function parseForm(text: string): Readonly<Record<string, FormValue>> {
  const form: Tree = Object.create(null);
  for (const [name, value] of new URLSearchParams(text)) {
    const path = [
      name.split("[")[0] ?? "",
      ...[...name.matchAll(/\[([^\]]*)\]/g)].map(([, key]) => key ?? ""),
    ];
    let place = form;
    for (const key of path.slice(0, -1)) {
      const found = place[key];
      const next: Tree = typeof found === "object" ? found : Object.create(null);
      place[key] = next;
      place = next;
    }
    place[path.at(-1) ?? ""] = value;
  }
  return form;
}
