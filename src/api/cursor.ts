import { Problem } from "./problem.ts";

/** A place in a listing, opaque to clients, so that it may change; null at the end. */
export function cursorOf(place: string | number | null): string | null {
  return place === null ? null : Buffer.from(String(place)).toString("base64url");
}

/** The place that a cursor stands for; undefined without one. @throws {Problem} 400 */
export function fromCursor(cursor: string | undefined): string | undefined;
export function fromCursor<Place>(
  cursor: string | undefined,
  read: (text: string) => Place,
): Place | undefined;
export function fromCursor(cursor: string | undefined, read: (text: string) => unknown = String): unknown {
  if (cursor === undefined) return undefined;
  const text = Buffer.from(cursor, "base64url").toString();
  const place = read(text);
  if (text !== "" && cursorOf(text) === cursor && place !== undefined && !Number.isNaN(place)) return place;
  const message = "must be the nextCursor of a page of this listing";
  throw new Problem(400, "invalid-input", { errors: [{ path: "cursor", message }] });
}
