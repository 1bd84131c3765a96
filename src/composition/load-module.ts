import { register } from "node:module";
import path from "node:path";
import { pathToFileURL } from "node:url";

/** What `import … from "conveyor"` gives to a module outside: src/index.ts as it runs here, so that both share its classes. */
const EXTENSION = path.extname(import.meta.filename);
const INDEX = new URL(`../index${EXTENSION}`, import.meta.url).href;

/**
 * Hooks of Node's module loader: `conveyor`, and TypeScript as ES modules, whatever package.json says or whether there is
 * one. tsx, which comes after them, would make CommonJS of it.
 */
const HOOKS = `
let index;
export function initialize(given) { index = given; }
export async function resolve(specifier, context, next) {
  if (specifier === "conveyor") return { url: index, format: "module", shortCircuit: true };
  if (/^(\\.{0,2}\\/|file:).*\\.m?ts$/.test(specifier))
    return { url: new URL(specifier, context.parentURL).href, format: "module", shortCircuit: true };
  return next(specifier, context);
}`;

let hooked: Promise<void> | undefined;

/**
 * Imports a module from outside of Conveyor's own code: JavaScript or TypeScript, an ES module that may import from
 * `conveyor`.
 *
 * @param file absolute. @throws whatever the module throws, or that it can't be found or read
 */
export async function loadModule(file: string): Promise<{ readonly default?: unknown }> {
  hooked ??= hook();
  await hooked;
  return import(pathToFileURL(file).href);
}

async function hook(): Promise<void> {
  // Where Conveyor itself runs as TypeScript, tsx is there already.
  if (EXTENSION !== ".ts") (await import("tsx/esm/api")).register();
  register(`data:text/javascript,${encodeURIComponent(HOOKS)}`, { data: INDEX });
}
