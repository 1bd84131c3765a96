/** What a provider can be made to do wrong. A call meets the fault that is set when the call has arrived. */
export type Fault =
  | { kind: "none" }
  /** 503 to everything, `/health` too. */
  | { kind: "down" }
  /** Each connection is destroyed at once, those that are open too. */
  | { kind: "refuse" }
  /** Nothing is done or answered, `/health` neither, until the next fault is set: a process that stands still. */
  | { kind: "hangs" }
  /** Everything is done, and answered correctly, so many milliseconds later, also when the caller has long gone. */
  | { kind: "slow"; ms: number }
  /** This part (0 to 1) of the calls is answered with 500 before anything is done; `/health` stays up. */
  | { kind: "errors"; rate: number }
  /** Everything is done at once, and answered so many milliseconds later: the caller has given up. */
  | { kind: "late"; ms: number }
  /** Everything is done, and then the connection is destroyed for this part of the calls; `/health` stays up. */
  | { kind: "lost-reply"; rate: number }
  /** The calls about this part (0 to 1) of the orders, always the same ones, get no answer or a 500; `/health` stays up. */
  | { kind: "poisoned"; share: number; treatment: "hangs" | "fails" };
