import { z } from "zod";
import type { StockLevel } from "../../db/stock.ts";

const TAGS = /^(?:\*|(?:W\/)?"[\x21\x23-\x7e]*"(?:\s*,\s*(?:W\/)?"[\x21\x23-\x7e]*")*)$/;

const tags = z.string().max(1_000).regex(TAGS, 'must be * or ETags in double quotes, such as "100-3"');

/** Request headers that make a change conditional. */
export const conditionHeaders = z.object({
  "If-Match": tags.optional().meta({
    description:
      "The `ETag` of the level to replace, or `*` for any. 412 if the stock on hand is another one by now",
  }),
  "If-None-Match": z.literal("*").optional().meta({
    description: "`*` sets only the stock of a SKU that is unknown. 412 if it is known",
  }),
});

/** Response headers of a level. */
export const ETAG = {
  ETag: { description: "Identifies the level, for `If-Match`", schema: { type: "string" } },
};

/** The entity tag of a level: the pieces on hand, and those that are reserved. */
export function etagOf({ onHand, reserved }: Pick<StockLevel, "onHand" | "reserved">): string {
  return `"${onHand}-${reserved}"`;
}

/**
 * Whether the level is one that the client wants to replace. Only what it sets counts, the stock on hand: a busy product is
 * reserved all the time, and nobody could ever set it otherwise.
 *
 * @returns a test for the level, which is undefined if the SKU is unknown; undefined if any level will do.
 */
export function conditionOf(
  headers: z.output<typeof conditionHeaders>,
): ((level: StockLevel | undefined) => boolean) | undefined {
  const { "If-Match": match, "If-None-Match": noneMatch } = headers;
  if (match === undefined && noneMatch === undefined) return undefined;
  const wanted = new Set(
    Array.from((match ?? "").matchAll(/(W\/)?"(\d+)-\d+"/g), ([, weak, onHand]) => (weak ? "" : onHand)),
  );
  return (level) => {
    if (noneMatch !== undefined && level !== undefined) return false;
    if (match === undefined) return true;
    return level !== undefined && (match === "*" || wanted.has(String(level.onHand)));
  };
}
