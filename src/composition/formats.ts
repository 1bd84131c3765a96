import { isIP } from "node:net";
import { z } from "zod";
import { isNetwork } from "../events/webhooks/networks.ts";
import { parseDuration } from "../platform/duration.ts";

/* How values of the environment are written. */

function address(...protocols: string[]) {
  const error = `must be an address that begins with ${protocols.map((protocol) => `${protocol}//`).join(" or ")}`;
  return z
    .string({ error })
    .refine((value) => URL.canParse(value) && protocols.includes(new URL(value).protocol), { error });
}

export function serverAddress(faultOf: (url: string) => string | undefined) {
  return z.string({ error: faultOf("") }).superRefine((value, context) => {
    const fault = faultOf(value);
    if (fault !== undefined) context.addIssue({ code: "custom", message: fault });
  });
}

/** Credentials are refused here, because fetch refuses them with an error that shows them. */
export function webAddress() {
  return address("http:", "https:").refine(
    (value) => {
      if (!URL.canParse(value)) return true;
      const { username, password } = new URL(value);
      return username === "" && password === "";
    },
    { error: "must be an address without user and password" },
  );
}

/** Milliseconds. */
export function duration(min: string, max: string) {
  const [from, to] = [parseDuration(min) ?? 0, parseDuration(max) ?? 0];
  const error = `must be a duration such as 30s, 90m, 24h or 2d, from ${min} to ${max}`;
  return z
    .string({ error })
    .transform((text) => parseDuration(text) ?? NaN)
    .refine((value) => value >= from && value <= to, { error });
}

export function wholeNumber(min: number, max: number) {
  const error = `must be a whole number from ${min} to ${max}`;
  return z
    .string({ error })
    .regex(/^\d{1,9}$/, { error })
    .transform(Number)
    .refine((value) => value >= min && value <= max, { error });
}

/** The path becomes part of pages and scripts, where `//a` would be another host. */
export function isPlain({ pathname, search, hash }: URL): boolean {
  return /^(\/[\w\-.~]+)*\/*$/.test(pathname) && search === "" && hash === "";
}

/** Names of networks that Express knows. */
const NAMED_NETWORKS = new Set(["loopback", "linklocal", "uniquelocal"]);

/** As Express takes them: a number of hops, or networks; undefined if the text is neither. */
export function proxiesIn(text: string): number | string[] | undefined {
  if (/^[1-9]$/.test(text)) return Number(text);
  const networks = text.split(",").map((network) => network.trim());
  const areValid = networks.every((each) => NAMED_NETWORKS.has(each) || isNetwork(each) || isIP(each) !== 0);
  return areValid ? networks : undefined;
}

export function matching(pattern: RegExp, error: string) {
  return z.string({ error }).regex(pattern, { error });
}

/** JSON with these fields. @param example of a right value, for errors */
export function jsonOf<Schema extends z.ZodType>(schema: Schema, example: string) {
  const error = `must be JSON such as ${example}`;
  return z
    .string({ error })
    .transform((text, context): unknown => {
      try {
        return JSON.parse(text);
      } catch {
        context.addIssue({ code: "custom", message: error });
        return z.NEVER;
      }
    })
    .pipe(schema);
}

export function oneOf<const Value extends string>(...values: Value[]) {
  return z.enum(values, { error: `must be one of ${values.join(", ")}` });
}
