import { Ajv2020, type ValidateFunction } from "ajv/dist/2020.js";
import type { TestClient } from "../client.ts";

/** The part of a JSON schema that says what a good value looks like. */
interface JsonSchema {
  readonly $ref?: string;
  readonly type?: "object" | "array" | "string" | "integer" | "number" | "boolean" | "null";
  readonly format?: string;
  readonly examples?: readonly unknown[];
  readonly enum?: readonly unknown[];
  readonly const?: unknown;
  readonly anyOf?: readonly JsonSchema[];
  readonly oneOf?: readonly JsonSchema[];
  readonly properties?: Readonly<Record<string, JsonSchema>>;
  readonly required?: readonly string[];
  readonly items?: JsonSchema;
  readonly minimum?: number;
  readonly minLength?: number;
  readonly minItems?: number;
}

interface Parameter {
  readonly name: string;
  readonly in: string;
  readonly schema: JsonSchema;
}

interface Document {
  readonly paths: Readonly<Record<string, Readonly<Record<string, DescribedOperation>>>>;
  readonly components: { readonly schemas: Readonly<Record<string, JsonSchema>> };
}

interface DescribedOperation {
  readonly parameters?: readonly Parameter[];
  readonly requestBody?: { readonly content: Readonly<Record<string, { readonly schema: JsonSchema }>> };
  readonly security?: readonly unknown[];
}

/** One method of one path, as the API describes it. */
export interface Operation {
  readonly method: string;
  /** `/orders/{id}` */
  readonly template: string;
  /** All methods of this path. */
  readonly methods: readonly string[];
  /** The same with something that exists in the place of each parameter. */
  readonly path: string;
  /** Whether it asks for no key. */
  readonly open: boolean;
  /** Whether a page's login does as well. */
  readonly takesLogin: boolean;
  readonly queryNames: readonly string[];
  readonly headers: readonly { readonly name: string; readonly takes: (value: unknown) => boolean }[];
  /** What it takes as a body, if it takes one. */
  readonly body: undefined | { readonly example: unknown; readonly takes: (value: unknown) => boolean };
}

/**
 * Every operation that the API has, from its own description: what is added there is attacked from then on.
 *
 * @param known what exists, by the name of the parameter that stands for it. @throws {Error} for a schema from which no
 * good value can be made: examples in it are what is missing.
 */
export async function describedOperations(
  client: TestClient,
  known: Readonly<Record<string, string>>,
): Promise<Operation[]> {
  const { body: document } = await client.get<Document>("/openapi.json");
  const schemas = new Schemas(document);
  return Object.entries(document.paths).flatMap(([template, operations]) =>
    Object.entries(operations).map(([method, operation]): Operation => {
      const parameters = operation.parameters ?? [];
      const path = template.replaceAll(/\{(\w+)\}/g, (_, name: string) => {
        const schema = parameters.find((parameter) => parameter.name === name)?.schema ?? {};
        return encodeURIComponent(known[name] ?? String(schemas.example(schema)));
      });
      const schema = operation.requestBody?.content["application/json"]?.schema;
      return {
        method: method.toUpperCase(),
        template,
        methods: Object.keys(operations).map((each) => each.toUpperCase()),
        path,
        open: operation.security?.length === 0,
        takesLogin: JSON.stringify(operation.security ?? []).includes("login"),
        queryNames: parameters.filter((each) => each.in === "query").map((each) => each.name),
        headers: parameters
          .filter((each) => each.in === "header")
          .map((each) => ({ name: each.name.toLowerCase(), takes: schemas.validator(each.schema) })),
        body: schema && { example: schemas.good(schema, template), takes: schemas.validator(schema) },
      };
    }),
  );
}

class Schemas {
  readonly #components: Document["components"];
  readonly #ajv = new Ajv2020({ strict: false, validateFormats: false });

  constructor({ components }: Document) {
    this.#components = components;
  }

  validator(schema: JsonSchema): ValidateFunction {
    return this.#ajv.compile({ ...schema, components: this.#components });
  }

  good(schema: JsonSchema, what: string): unknown {
    const example = this.example(schema);
    const validate = this.validator(schema);
    if (validate(example)) return example;
    const why = this.#ajv.errorsText(validate.errors);
    throw new Error(
      `no example for ${what} can be made, give its schema some: ${why} in ${JSON.stringify(example)}`,
    );
  }

  example(schema: JsonSchema): unknown {
    if (schema.$ref !== undefined) return this.example(this.#referred(schema.$ref));
    if (schema.examples !== undefined) return schema.examples[0];
    if (schema.const !== undefined) return schema.const;
    if (schema.enum !== undefined) return schema.enum[0];
    const alternative = (schema.anyOf ?? schema.oneOf)?.[0];
    if (alternative !== undefined) return this.example(alternative);
    switch (schema.type) {
      case "object":
        return Object.fromEntries(
          Object.entries(schema.properties ?? {}).flatMap(([name, property]) => {
            const value = this.example(property);
            // What need not be there, and cannot be guessed, is left out.
            const left = !schema.required?.includes(name) && !this.validator(property)(value);
            return left ? [] : [[name, value]];
          }),
        );
      case "array":
        return Array.from({ length: Math.max(1, schema.minItems ?? 0) }, () =>
          this.example(schema.items ?? {}),
        );
      case "string":
        return schema.format === "date-time"
          ? "2026-11-23T09:30:00.000Z"
          : schema.format === "uri"
            ? "https://shop.example/x"
            : "x".repeat(Math.max(1, schema.minLength ?? 0));
      case "integer":
      case "number":
        return Math.max(1, schema.minimum ?? 1);
      case "boolean":
        return true;
      case "null":
      case undefined:
        return null;
    }
  }

  #referred(reference: string): JsonSchema {
    const name = reference.replace("#/components/schemas/", "");
    const schema = this.#components.schemas[name];
    if (schema === undefined) throw new Error(`nothing is described under ${reference}`);
    return schema;
  }
}
