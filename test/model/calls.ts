/** A process of the service. When it dies, nothing that it had begun goes on, and nothing reaches it any more. */
export class Process {
  readonly name: string;
  /** One line of work that does more than to make calls: the schedule waits for it while it makes none. */
  readonly single: boolean;
  alive = true;
  /** Stopped for as long as it likes, and not dead: what it has begun goes on some time. */
  frozen = false;
  constructor(name: string, { single = false } = {}) {
    this.name = name;
    this.single = single;
  }
}

/** How a call ends. */
export type Fate =
  | "answered"
  /** It has no effect, and the caller gets an error. */
  | "not reached"
  /** The same, from a service that is there and says no to this call. */
  | "refused"
  /** It has its effect, and the caller gets an error. */
  | "reply lost"
  /** It has its effect, and its answer is on its way for as long as the schedule says. */
  | "reply late";

/** What a call is to the schedule. */
export interface CallOptions {
  readonly process: Process;
  /** For people. */
  readonly name: string;
  /** A request on its way to another service: the death of the process that sent it does not call it back. */
  readonly outlivesProcess: boolean;
  /** What the caller gets when the call fails. */
  readonly failure: (fate: Exclude<Fate, "answered" | "reply late">) => Error;
}

/** A call, or the answer to one, that waits for its turn. */
export interface PendingCall extends Omit<CallOptions, "failure"> {
  readonly proceed: (fate: Fate) => Promise<void>;
}

/** Turns of the event loop without anything new, after which nothing will come of itself: group commits wait for one. */
const QUIET_TURNS = 3;

/**
 * The schedule. Every call that leaves a process (a query or transaction, a port, a queue) stops here, and goes on when
 * it is told to, with the fate that it is told. One at a time, or those of one process together; in between, all that
 * follows without another call happens. So a list of choices gives the same interleaving each time.
 *
 * fast-check's own scheduler would choose the calls as well, but out of sight: here each choice is a command of the list,
 * so that crashes and faults fall between two given calls, a counterexample shrinks call by call, and reads as a story.
 */
export class Calls {
  #pending: PendingCall[] = [];
  #running = 0;
  #changes = 0;
  #onChange: () => void = () => undefined;

  /** Those that can go on, oldest first. */
  get pending(): readonly PendingCall[] {
    return this.#pending.filter(({ process }) => !process.frozen);
  }

  /** Does the work when it is the call's turn; never resolves for a process that is dead by then. */
  make<T>(options: CallOptions, work: () => Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      const { alive, single } = options.process;
      if (!alive) return;
      if (single) this.#changed(-1);
      const answer = (give: () => void): void => {
        if (!options.process.alive) return;
        if (single) this.#changed(1);
        give();
      };
      const fail = (fate: Parameters<CallOptions["failure"]>[0]): void =>
        answer(() => reject(options.failure(fate)));
      this.#wait({
        ...options,
        proceed: async (fate) => {
          if (fate === "not reached" || fate === "refused") return fail(fate);
          const give = await work().then(
            (result) => () => resolve(result),
            (error: unknown) => () => reject(error),
          );
          if (fate === "reply lost") return fail(fate);
          if (fate === "answered") return answer(give);
          this.#wait({
            ...options,
            name: `answer to ${options.name}`,
            outlivesProcess: false,
            proceed: async (late) =>
              late === "answered" || late === "reply late" ? answer(give) : fail(late),
          });
        },
      });
    });
  }

  /** Lets calls go on in the same moment, and resolves when nothing more follows by itself. */
  async proceed(calls: readonly PendingCall[], fate: Fate): Promise<void> {
    this.#pending = this.#pending.filter((call) => !calls.includes(call));
    await Promise.all(calls.map((call) => this.busyWith(() => call.proceed(fate))));
    await this.settle();
  }

  /** Does work that is no call: {@link settle} waits for it. */
  async busyWith(work: () => Promise<void>): Promise<void> {
    this.#changed(1);
    try {
      await work();
    } finally {
      this.#changed(-1);
    }
  }

  /** Ends a process between two of its steps. What it has sent out may still arrive. */
  kill(process: Process): void {
    process.alive = false;
    this.#pending = this.#pending.filter((call) => call.process !== process || call.outlivesProcess);
  }

  /** Resolves when nothing happens any more until a call goes on. */
  async settle(): Promise<void> {
    for (;;) {
      while (this.#running > 0) await new Promise<void>((resolve) => (this.#onChange = resolve));
      const before = this.#changes;
      for (let turn = 0; turn < QUIET_TURNS; turn++) await new Promise((resolve) => setImmediate(resolve));
      if (this.#running === 0 && this.#changes === before) return;
    }
  }

  #wait(call: PendingCall): void {
    this.#changed(0);
    if (call.process.alive || call.outlivesProcess) this.#pending.push(call);
  }

  #changed(running: -1 | 0 | 1): void {
    this.#running += running;
    this.#changes++;
    this.#onChange();
  }
}
