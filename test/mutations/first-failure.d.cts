declare const FirstFailure: {
  /** Of a run that a failed test has ended. */
  readonly exitCode: number;
};

export = FirstFailure;
