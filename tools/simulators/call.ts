/** A request as a provider sees it. */
export interface Call {
  readonly method: string;
  /** With the query. */
  readonly path: string;
  readonly key: string | undefined;
  /** The parsed JSON body; undefined if there is none or it is not JSON. */
  readonly body: unknown;
  /** The body as it came. */
  readonly text?: string;
  /** The `Authorization` header. */
  readonly authorization?: string | undefined;
}

/** A provider's response. */
export interface Answer {
  readonly status: number;
  readonly body?: object;
  readonly headers?: Readonly<Record<string, string>>;
}

export function problem(status: number, error: string): Answer {
  return { status, body: { error } };
}
