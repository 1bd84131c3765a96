import type { ServiceName } from "../order/ports.ts";
import { untilAborted, withinTime } from "../platform/time-limit.ts";

/** A service that takes longer to answer a ping counts as away. */
const PING_TIMEOUT_MS = 3_000;
/** A slower answer suggests that the service hung until then. Milliseconds. */
const PROMPT_MS = 500;

/** The state of one service's pings. */
interface Line {
  current: Promise<boolean> | undefined;
  next: Promise<boolean> | undefined;
  /** When the service was last found away (`performance.now()`). */
  lastAwayAt: number;
  /** When a ping was last answered late. */
  lastLateAt: number;
}

/**
 * Pings services. A ping sent before a call failed says nothing about that call, so callers never join the ping under
 * way: they share the next one. However many calls fail, a process sends one ping at a time per service.
 */
export class Pings {
  readonly #ping: (service: ServiceName, signal: AbortSignal) => Promise<void>;
  readonly #timeoutMs: number;
  readonly #lines = new Map<ServiceName, Line>();

  /** @param ping resolves if the service answers; rejects otherwise. */
  constructor(
    ping: (service: ServiceName, signal: AbortSignal) => Promise<void>,
    timeoutMs = PING_TIMEOUT_MS,
  ) {
    this.#ping = ping;
    this.#timeoutMs = timeoutMs;
  }

  /** Whether the service answers a ping sent after this call. */
  answers(service: ServiceName): Promise<boolean> {
    const line = this.#of(service);
    if (line.current === undefined) return this.#send(service, line);
    line.next ??= line.current.then(() => {
      line.next = undefined;
      return this.#send(service, line);
    });
    return line.next;
  }

  /** When the service was last found away (`performance.now()`); -Infinity if never. */
  lastAwayAt(service: ServiceName): number {
    return this.#of(service).lastAwayAt;
  }

  /**
   * When a ping was last answered late, or only the second one was: the service may have hung until then
   * (`performance.now()`).
   */
  lastLateAt(service: ServiceName): number {
    return this.#of(service).lastLateAt;
  }

  #of(service: ServiceName): Line {
    const known = this.#lines.get(service);
    if (known) return known;
    const line: Line = { current: undefined, next: undefined, lastAwayAt: -Infinity, lastLateAt: -Infinity };
    this.#lines.set(service, line);
    return line;
  }

  #send(service: ServiceName, line: Line): Promise<boolean> {
    line.current = this.#ask(service, line);
    return line.current;
  }

  async #ask(service: ServiceName, line: Line): Promise<boolean> {
    // One timeout may only mean a busy machine, here or there, so try again before calling the service away. But it
    // excuses the calls it overlaps: a service that hangs for a while can be back at the second ping.
    const sentAt = performance.now();
    const answer = await this.#once(service);
    const now = performance.now();
    if (answer === "silence" || now - sentAt > PROMPT_MS) line.lastLateAt = now;
    const answers = (answer === "silence" ? await this.#once(service) : answer) === "here";
    if (!answers) line.lastAwayAt = performance.now();
    line.current = undefined;
    return answers;
  }

  async #once(service: ServiceName): Promise<"here" | "away" | "silence"> {
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
