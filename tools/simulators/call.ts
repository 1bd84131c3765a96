/** A request as a provider sees it. */
export interface Call {
  readonly method: string;
  readonly path: string;
  readonly key: string | undefined;
  /** Parsed JSON; undefined when there is none, or when it is none. */
  readonly body: unknown;
}
