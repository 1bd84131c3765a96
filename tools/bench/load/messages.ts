/** Who is asked, and with which orders. */
export interface Target {
  readonly port: number;
  readonly apiKey: string;
  /** Decides which orders are sent. */
  readonly seed: number;
}

/** Each connection sends its next order as soon as the last one is answered. */
export interface ClosedLoad extends Target {
  readonly kind: "closed";
  readonly connections: number;
  /** When it ends: after so many milliseconds, or after so many orders. */
  readonly until: { readonly ms: number } | { readonly orders: number };
}

/** Orders come at their own pace, whether or not those before them were answered. */
export interface SteadyLoad extends Target {
  readonly kind: "steady";
  readonly perSecond: number;
  readonly ms: number;
}

export type Load = ClosedLoad | SteadyLoad;

/** What the command for a load is sent as, and answered by. */
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
  /** Milliseconds from the beginning of the load to the moment when the request was due. */
  readonly at: number;
  /** From then to the whole answer: a client that could not even send must not look fast. */
  readonly tookMs: number;
  /** 0 when no whole answer came. */
  readonly status: number;
}

export interface LoadResult {
  /** Milliseconds. */
  readonly lasted: number;
  /** Answers by status within that time; 0 stands for none. Of a closed load that ends by the clock, those in time. */
  readonly inTime: Readonly<Record<number, number>>;
  /** All answers by status, also those that came later. */
  readonly all: Readonly<Record<number, number>>;
  /** Milliseconds from request to answer, of all: leaving out what came too late would make the slow look fast. */
  readonly p50: number;
  readonly p99: number;
  /** Milliseconds of CPU that the source of the load has used. */
  readonly cpuMs: number;
  /** Every request of a steady load, in the order in which they were due. */
  readonly samples: readonly Sample[];
}
