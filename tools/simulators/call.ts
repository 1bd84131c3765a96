import type { IncomingHttpHeaders } from "node:http";

/** A request as a provider sees it. */
export interface Call {
  readonly method: string;
  /** With the query. */
  readonly path: string;
  /** The `webhook-id` or `Idempotency-Key`. */
  readonly key: string | undefined;
  /** The parsed JSON body; undefined if there is none or it is not JSON. */
  readonly body: unknown;
  /** The body as it came. */
  readonly text?: string;
  readonly headers?: IncomingHttpHeaders;
  /** The `Authorization` header. */
  readonly authorization?: string | undefined;
}

/** A provider's response. */
export interface Answer {
  readonly status: number;
  readonly body?: object;
  readonly headers?: Readonly<Record<string, string>>;
}

export function done(record: object = {}): Answer {
  return { status: 200, body: { done: record } };
}

/** The operation took place after it was undone. */
export function undone(error: string): Answer {
  return problem(410, error);
}

export function problem(status: number, error: string): Answer {
  return { status, body: { error } };
}
