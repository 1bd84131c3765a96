/** A fault that somebody might write, and the tests that must notice it. */
export interface Mutation {
  /** What the fault would break, in one sentence. */
  readonly breaks: string;
  /** Relative to the repository. */
  readonly file: string;
  /** Text that stands in the file exactly once. */
  readonly find: string;
  readonly replace: string;
  /** Test files, relative to `test/` and without `.test.ts`: at least one test of them must fail. */
  readonly tests: readonly string[];
}

export const MUTATIONS: readonly Mutation[] = [];
