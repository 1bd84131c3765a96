/** Says which one of several processes does what only one may do. */
export interface Lease {
  /**
   * Takes the lease if nobody holds it, and prolongs it when it is time to. Call it before each piece of work.
   *
   * @returns the fencing token, undefined while another process holds the lease. It is greater than those of all holders
   * before, so that whatever the work writes to can refuse a holder that comes late: one that was frozen, for example, and
   * does not know yet that another one has taken over. @throws when the store does not answer.
   */
  hold(): Promise<number | undefined>;

  /**
   * The fencing token while this process can be sure, by its own clock, that it holds the lease. That ends before the store
   * gives the lease to somebody else, so that what was begun in the last moment can end in time.
   */
  readonly token: number | undefined;

  /** Lets another process take the lease at once. @throws when the store does not answer: then it expires. */
  release(): Promise<void>;
}
