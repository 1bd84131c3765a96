/** Where to send orders, and which ones. */
export interface Target {
  readonly port: number;
  readonly apiKey: string;
  /** Seed of the orders. */
  readonly seed: number;
}

/** Closed-loop load: each connection sends its next order as soon as the last one is answered. */
export interface ClosedLoad extends Target {
  readonly kind: "closed";
  readonly connections: number;
  /** Ends after this many milliseconds or orders. */
  readonly until: { readonly ms: number } | { readonly orders: number };
}

/** Open-loop load: orders are sent at a fixed rate, whether or not earlier ones were answered. */
export interface SteadyLoad extends Target {
  readonly kind: "steady";
  readonly perSecond: number;
  readonly ms: number;
}

export type Load = ClosedLoad | SteadyLoad;

/** The messages between the benchmark and the load generator. */
export interface LoadCommand {
  readonly id: number;
  readonly load: Load;
}
export interface LoadAnswer {
  readonly id: number;
  readonly result?: LoadResult;
  readonly error?: string;
}

/** One request of a steady load. */
export interface Sample {
  /** When the request was due, in milliseconds from the start of the load. */
  readonly at: number;
  /** From when it was due until the complete response: a request that was sent late must not look fast. */
  readonly tookMs: number;
  /** 0 if there was no complete response. */
  readonly status: number;
}

export interface LoadResult {
  /** Milliseconds. */
  readonly lasted: number;
  /** Responses by status, 0 meaning none; those of a timed closed load only until its end. */
  readonly inTime: Readonly<Record<number, number>>;
  /** All responses by status, including later ones. */
  readonly all: Readonly<Record<number, number>>;
  /** Milliseconds from request to response, over all responses: leaving out late ones would hide slowness. */
  readonly p50: number;
  readonly p99: number;
  /** Milliseconds of CPU used by the load generator. */
  readonly cpuMs: number;
  /** Every request of a steady load, in the order they were due. */
  readonly samples: readonly Sample[];
}

/** Counts 202s, and 201s for orders that are already finished. */
export function acceptedOf(answers: LoadResult["all"]): number {
  return (answers[201] ?? 0) + (answers[202] ?? 0);
}
