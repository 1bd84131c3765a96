import { hash, randomUUID } from "node:crypto";
import type { Response } from "express";
import { z } from "zod";
import type { KeyedRequest } from "../../events/webhooks/endpoints.ts";
import { type Problem, problemOf } from "../problem.ts";
import type { Services } from "../services.ts";
import { leadTo, show } from "./context.ts";
import { html, type Content, type Html } from "./html.ts";
import type { Page } from "./layout.ts";

export const keySchema = z.object({ form: z.uuid().optional() });

/** Makes a double click or a reload count as one request. */
export function keyOf({ form }: z.output<typeof keySchema>, operator: string): KeyedRequest | undefined {
  return form === undefined ? undefined : { client: `console ${operator}`, key: form };
}

/** The same for what keeps a digest of its clients. */
export function digestedKeyOf(form: z.output<typeof keySchema>, operator: string): KeyedRequest | undefined {
  const request = keyOf(form, operator);
  return request && { ...request, client: hash("sha256", request.client, "base64") };
}

/** A hidden field that identifies this rendering of the form. */
export function formField(): Html {
  return html`<input type="hidden" name="form" value="${randomUUID()}" />`;
}

interface Field {
  readonly label: string;
  /** Characters; absent for a whole number. */
  readonly most?: number;
  readonly isOptional?: true;
}

/** What a form's fields hold, by name; undefined for an empty one. */
export type Values = Readonly<Record<string, string | undefined>>;

/** The text fields of a form that is shown again, as it was filled in, with what is wrong. */
export class TextForm {
  readonly #fields: Readonly<Record<string, Field>>;
  /** Takes anything: what the fields must be like is for the API's own schemas to say. */
  readonly schema: z.ZodType<{ readonly values: Values; readonly form: string | undefined }>;

  constructor(fields: Readonly<Record<string, Field>>) {
    this.#fields = fields;
    this.schema = z.looseObject({}).transform((sent) => {
      const values = Object.keys(fields).flatMap((name) => {
        const value = sent[name];
        return typeof value === "string" && value.trim() !== "" ? [[name, value.trim()] as const] : [];
      });
      return { values: Object.fromEntries(values), form: keySchema.safeParse(sent).data?.form };
    });
  }

  inputs(values: Values): Content {
    return Object.entries(this.#fields).map(([name, { label, most, isOptional }]) => {
      const type = most === undefined ? "number" : "text";
      return html`<label class="field"
        ><span>${label}</span
        ><input
          name="${name}"
          type="${type}"
          maxlength="${most}"
          value="${values[name]}"
          autocomplete="off"
          ${!isOptional && "required"}
      /></label>`;
    });
  }

  /**
   * Does what the form asks for.
   *
   * @param act returns the address that it leads to.
   * @param again the page of the form, with what is wrong; used if `act` throws what is a {@link Problem} to clients.
   */
  async submit(
    services: Services,
    response: Response,
    { act, again }: { readonly act: () => Promise<string>; readonly again: (faults: Html) => Page },
  ): Promise<void> {
    let to: string;
    try {
      to = await act();
    } catch (error) {
      const problem = problemOf(error);
      if (problem === undefined) throw error;
      response.status(problem.status);
      show(services, response, again(this.#faults(problem)));
      return;
    }
    leadTo(response, to);
  }

  #faults({ message, options: { errors = [] } }: Problem): Html {
    const labelled = errors.map(({ path, message: fault }) => {
      const name = path.split(".").at(-1) ?? path;
      return `${this.#fields[name]?.label ?? path}: ${fault}`;
    });
    return html`<div class="verdict bad" role="alert">
      ${(labelled.length === 0 ? [message] : labelled).map((text) => html`<p>${text}</p>`)}
    </div>`;
  }
}
