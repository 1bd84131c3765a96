/** The text of a part of a URL; undefined if it has a stray `%`. */
export function decoded(part: string): string | undefined {
  try {
    return decodeURIComponent(part);
  } catch {
    return undefined;
  }
}
