/** An error that the user can act on: one line, with the end of a log if that helps. */
export class Failure extends Error {
  override name = "Failure";
  readonly details: string[];

  constructor(message: string, details: string[] = []) {
    super(message);
    this.details = details;
  }
}

/** The `code` of a system or driver error, such as "ENOENT"; undefined if it has none. */
export function errorCode(error: unknown): string | undefined {
  return typeof error === "object" && error !== null && "code" in error ? String(error.code) : undefined;
}
