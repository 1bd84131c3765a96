/** A request as a provider sees it. */
export interface Call {
  readonly method: string;
  readonly path: string;
  readonly key: string | undefined;
  /** The parsed JSON body; undefined if there is none or it is not JSON. */
  readonly body: unknown;
}

/** A provider's response. */
export interface Answer {
  readonly status: number;
  readonly body?: object;
}

export function problem(status: number, error: string): Answer {
  return { status, body: { error } };
}
