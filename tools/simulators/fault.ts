/** How a provider misbehaves. A call gets the fault that is set when it has arrived. */
export type Fault =
  | { kind: "none" }
  /** Answers 503 to everything, including `/health`. */
  | { kind: "down" }
  /** Destroys every connection, open ones too. */
  | { kind: "refuse" }
  /** Does and answers nothing, `/health` neither, until the next fault is set: a process that hangs. */
  | { kind: "hangs" }
  /** Does the work and answers correctly, but only after `ms`, even if the caller has given up. */
  | { kind: "slow"; ms: number }
  /** Answers this share (0 to 1) of the calls with 500 and does nothing; `/health` stays up. */
  | { kind: "errors"; rate: number }
  /** Does the work at once but answers after `ms`, when the caller has given up. */
  | { kind: "late"; ms: number }
  /** Does the work, then destroys the connection of this share of the calls; `/health` stays up. */
  | { kind: "lost-reply"; rate: number }
  /**
   * Never answers calls for this share (0 to 1) of the orders, always the same ones, or answers 500; `/health`
   * stays up.
   */
  | { kind: "poisoned"; share: number; treatment: "hangs" | "fails" };
