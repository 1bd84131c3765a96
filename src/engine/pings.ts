import type { Ports } from "../order/ports.ts";
import { withinTime } from "../platform/time-limit.ts";
import { untilAborted } from "../platform/until-aborted.ts";

/** A service that takes longer to say that it is there counts as away. */
const PING_TIMEOUT_MS = 3_000;
/** One that takes longer may have hung until then. Milliseconds. */
const PROMPT_MS = 500;

/** What is known of one service. */
interface Line {
  current: Promise<boolean> | undefined;
  next: Promise<boolean> | undefined;
  /** When a ping last failed or was not answered in time, as `performance.now()` has it. */
  lastAwayAt: number;
  /** When a ping was last answered late. */
  lastLateAt: number;
}

/**
 * Asks services whether they are there. A ping that was sent before a call failed says nothing about that call, so nobody
 * shares a ping that is under way: all who ask meanwhile share the next one. However many calls fail, one process has one
 * ping under way per service.
 */
export class Pings {
  readonly #ping: (service: keyof Ports, signal: AbortSignal) => Promise<void>;
  readonly #timeoutMs: number;
  readonly #lines = new Map<keyof Ports, Line>();

  /** @param ping asks a service whether it is there; rejects when it is not. */
  constructor(
    ping: (service: keyof Ports, signal: AbortSignal) => Promise<void>,
    timeoutMs = PING_TIMEOUT_MS,
  ) {
    this.#ping = ping;
    this.#timeoutMs = timeoutMs;
  }

  /** Whether a service answers a ping that is sent from now on. */
  answers(service: keyof Ports): Promise<boolean> {
    const line = this.#of(service);
    if (line.current === undefined) return this.#send(service, line);
    line.next ??= line.current.then(() => {
      line.next = undefined;
      return this.#send(service, line);
    });
    return line.next;
  }

  /**
   * When a ping last failed or was not answered in time, be it one silent ping before an answer, as `performance.now()`
   * has it; -Infinity if none ever did.
   */
  lastAwayAt(service: keyof Ports): number {
    return this.#of(service).lastAwayAt;
  }

  /** When a ping was last answered late, if in time: until then the service may have hung. As `performance.now()` has it. */
  lastLateAt(service: keyof Ports): number {
    return this.#of(service).lastLateAt;
  }

  #of(service: keyof Ports): Line {
    const known = this.#lines.get(service);
    if (known) return known;
    const line: Line = { current: undefined, next: undefined, lastAwayAt: -Infinity, lastLateAt: -Infinity };
    this.#lines.set(service, line);
    return line;
  }

  #send(service: keyof Ports, line: Line): Promise<boolean> {
    line.current = this.#ask(service, line);
    return line.current;
  }

  async #ask(service: keyof Ports, line: Line): Promise<boolean> {
    // Silence may also be that of a busy machine, this one or theirs: one silent ping is no absence.
    // But it excuses the calls that it falls into: a service that hangs for a while can be back at the second ping.
    const sentAt = performance.now();
    const answer = await this.#once(service);
    const now = performance.now();
    if (answer === "here" && now - sentAt > PROMPT_MS) line.lastLateAt = now;
    if (answer === "silence") line.lastAwayAt = now;
    const answers = (answer === "silence" ? await this.#once(service) : answer) === "here";
    if (!answers) line.lastAwayAt = performance.now();
    line.current = undefined;
    return answers;
  }

  async #once(service: keyof Ports): Promise<"here" | "away" | "silence"> {
    return withinTime(this.#timeoutMs, undefined, async (signal) => {
      try {
        await untilAborted(signal, () => this.#ping(service, signal));
        return "here";
      } catch {
        return signal.aborted ? "silence" : "away";
      }
    });
  }
}
