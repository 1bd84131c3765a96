/** Elects one of several processes for work that only one may do. */
export interface Lease {
  /**
   * Acquires the lease if it is free, and renews it when due. Call it before each piece of work.
   *
   * @returns the fencing token; undefined while another process holds the lease. It is greater than those of all previous
   * holders, so that whatever the work writes to can refuse a late one, such as a process that was frozen and does not know
   * that another one has taken over. @throws {Error} if the store does not answer.
   */
  hold(): Promise<number | undefined>;

  /**
   * The fencing token while this process certainly holds the lease, by its own clock. That is until shortly before the
   * lease expires in the store, so that work started at the last moment can finish in time.
   */
  readonly token: number | undefined;

  /** Lets another process acquire the lease at once; if the store does not answer, when the lease expires. */
  release(): Promise<void>;
}

/** A lease that nobody else asks for. */
export const UNDISPUTED: Lease = { hold: async () => 1, token: 1, release: async () => undefined };
