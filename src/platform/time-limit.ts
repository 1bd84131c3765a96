/** The limits of the work that is under way, by the signal that the work was given. */
const limits = new WeakMap<AbortSignal, TimeLimit>();

/**
 * Does work that is to end when its time is up, or when it is called off: its signal says so then.
 *
 * `AbortSignal.any()` with `AbortSignal.timeout()` would do the same for several times the cost, since they keep their
 * timer and lists of weak references for the whole time after the work has ended.
 *
 * @param milliseconds after which the signal's reason is a `TimeoutError`; what is done {@link offTheClock} does not count.
 * @param calledOff whose reason is passed on, at once.
 */
export async function withinTime<T>(
  milliseconds: number,
  calledOff: AbortSignal | undefined,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const controller = new AbortController();
  const limit = new TimeLimit(milliseconds, () =>
    controller.abort(new DOMException("its time is up", "TimeoutError")),
  );
  limits.set(controller.signal, limit);
  const callOff = () => controller.abort(calledOff?.reason);
  if (calledOff?.aborted) callOff();
  else calledOff?.addEventListener("abort", callOff, { once: true });
  try {
    return await work(controller.signal);
  } finally {
    limit.stop();
    calledOff?.removeEventListener("abort", callOff);
  }
}

/**
 * Waits for something that has a time limit of its own, such as MySQL: meanwhile the limit of the work that it is part of
 * stands still. So whatever is too slow ends by its own limit, and says what it was.
 *
 * @param signal what {@link withinTime} gave the work; with any other signal, or none, this only waits.
 */
export async function offTheClock<T>(signal: AbortSignal | undefined, work: () => Promise<T>): Promise<T> {
  const limit = signal && limits.get(signal);
  if (limit === undefined) return work();
  limit.pause();
  try {
    return await work();
  } finally {
    limit.resume();
  }
}

/** A timer that can be paused. Every order pauses it several times, so pausing leaves the timer as it is. */
class TimeLimit {
  readonly #isUp: () => void;
  /** As `performance.now()` has it. */
  #deadline: number;
  /** Undefined when it has fired too early, during a pause. */
  #timer: NodeJS.Timeout | undefined;
  /** How many have paused it at this moment. */
  #pauses = 0;
  #pausedAt = 0;
  #hasStopped = false;

  constructor(milliseconds: number, isUp: () => void) {
    this.#isUp = isUp;
    this.#deadline = performance.now() + milliseconds;
    this.#start();
  }

  pause(): void {
    if (this.#pauses++ === 0) this.#pausedAt = performance.now();
  }

  resume(): void {
    if (--this.#pauses > 0) return;
    this.#deadline += performance.now() - this.#pausedAt;
    if (this.#timer === undefined && !this.#hasStopped) this.#start();
  }

  stop(): void {
    this.#hasStopped = true;
    clearTimeout(this.#timer);
  }

  #start(): void {
    const leftMs = this.#deadline - performance.now();
    this.#timer = setTimeout(() => this.#fired(), Math.max(0, Math.ceil(leftMs)));
  }

  #fired(): void {
    this.#timer = undefined;
    if (this.#pauses > 0) return;
    if (performance.now() < this.#deadline) this.#start();
    else this.#isUp();
  }
}
