/*
 * Time limits. `withinTime` gives work a signal that aborts after a timeout, `untilAborted` stops waiting for work that
 * ignores its signal, and `settleWithin` stops waiting for a promise that takes none.
 */

/** The limits of running work, by the signal passed to it. */
const limits = new WeakMap<AbortSignal, TimeLimit>();

/**
 * Runs work with a signal that aborts after a timeout or when the caller's signal does.
 *
 * `AbortSignal.any()` with `AbortSignal.timeout()` would cost several times as much, since they keep their
 * timer and lists of weak references after the work has ended.
 *
 * @param milliseconds the timeout, after which the signal's reason is a `TimeoutError`; time spent {@link offTheClock}
 * and time for which the process stood still do not count
 * @param signal the caller's signal, whose reason is passed on
 */
export async function withinTime<T>(
  milliseconds: number,
  signal: AbortSignal | undefined,
  work: (limited: AbortSignal) => Promise<T>,
): Promise<T> {
  const controller = new AbortController();
  const abort = abortOf(controller);
  const limit = new TimeLimit(milliseconds, () => abort(new DOMException("its time is up", "TimeoutError")));
  limits.set(controller.signal, limit);
  const forget = signal && onAbort(signal, () => abort(signal.reason));
  try {
    return await work(controller.signal);
  } finally {
    limit.stop();
    forget?.();
  }
}

/**
 * Waits for something that has its own time limit, such as MySQL, with the limit of the work around it paused. So
 * whatever is too slow fails by its own limit, and the error names it.
 *
 * @param signal the one that {@link withinTime} passed to the work; with any other signal, or none, this only waits
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

/**
 * Stops waiting for work when its signal aborts. The result of work that ignores the signal is dropped.
 *
 * @throws the signal's reason
 */
export async function untilAborted<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
  signal.throwIfAborted();
  return new Promise((resolve, reject) => {
    const forget = onAbort(signal, () => reject(signal.reason));
    void work().then(resolve, reject).finally(forget);
  });
}

/** What to call when a signal aborts. */
const calls = new WeakMap<AbortSignal, Set<() => void>>();

/** Aborts a controller's signal, and makes the calls of {@link onAbort} without a listener: adding one to a new signal takes long. */
function abortOf(controller: AbortController): (reason: unknown) => void {
  const all = new Set<() => void>();
  calls.set(controller.signal, all);
  return (reason) => {
    if (controller.signal.aborted) return;
    controller.abort(reason);
    for (const call of all) call();
  };
}

/**
 * Calls back when the signal aborts, at once if it has. At most one listener serves all: adding and removing one takes
 * longer than much of what a stage does. @returns a function that forgets the callback.
 */
function onAbort(signal: AbortSignal, call: () => void): () => void {
  if (signal.aborted) call();
  let all = calls.get(signal);
  if (all === undefined) {
    const added = new Set<() => void>();
    signal.addEventListener("abort", () => added.forEach((each) => each()), { once: true });
    calls.set(signal, (all = added));
  }
  const added = all.add(call);
  return () => added.delete(call);
}

/**
 * Waits for a promise with a timeout. Its later result or error is ignored.
 *
 * @param milliseconds negative counts as 0; time for which the process stood still does not count. @param late gives the
 * result on timeout, or throws.
 */
export async function settleWithin<T>(milliseconds: number, pending: Promise<T>, late: () => T): Promise<T> {
  let limit: TimeLimit | undefined;
  const timeIsUp = new Promise<void>((resolve) => {
    limit = new TimeLimit(Math.max(0, milliseconds), resolve);
  });
  try {
    return await Promise.race([pending, timeIsUp.then(late)]);
  } finally {
    limit?.stop();
  }
}

/** Whether the error is that of {@link withinTime}'s timeout. */
export function isTimeout(error: unknown): error is DOMException {
  return error instanceof DOMException && error.name === "TimeoutError";
}

/**
 * A timer that is late by so much, in milliseconds, stood still with its process, or the process was busy. The answer may have
 * come meanwhile, unread, so the work gets that time back: at most its limit once more, in all.
 */
const STALL_MS = 250;

/** A timer that can be paused. Every order pauses it several times, so pausing leaves the timer as it is. */
class TimeLimit {
  readonly #isUp: () => void;
  /** In the time of `performance.now()`. */
  #deadline: number;
  /** Undefined if it has fired too early, during a pause. */
  #timer: NodeJS.Timeout | undefined;
  /** The number of current pauses. */
  #pauses = 0;
  #pausedAt = 0;
  #hasStopped = false;
  /** How much time may still be given back. Milliseconds. */
  #returnableMs: number;

  constructor(milliseconds: number, isUp: () => void) {
    this.#isUp = isUp;
    this.#returnableMs = Math.max(milliseconds, STALL_MS);
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
    const now = performance.now();
    const late = now - this.#deadline;
    if (late < 0) this.#start();
    else if (late < STALL_MS || this.#returnableMs <= 0) this.#isUp();
    else {
      const returned = Math.min(late, this.#returnableMs);
      this.#returnableMs -= returned;
      this.#deadline = now + returned;
      this.#start();
    }
  }
}
