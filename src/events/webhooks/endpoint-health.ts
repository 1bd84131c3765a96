import type { Database } from "../../../db/database.ts";
import { bringAllForward } from "../../../db/webhook-sending.ts";
import { saveCondition, type WebhookEndpoint } from "../../../db/webhook-endpoints.ts";
import type { Logger } from "../../platform/log.ts";
import type { Answer } from "./sender.ts";
import { nowMs } from "../../platform/clock.ts";

/**
 * After messages of this many orders failed without a delivery in between, the endpoint is only probed, with growing
 * pauses. One order that keeps failing says nothing about the others.
 */
const FAILED_ORDERS = 5;
/**
 * For this many milliseconds after a delivery, repeated failures of suspects do not count as an outage; and if the endpoint
 * seems to be down, pauses stay short, since it may just be refusing a run of messages.
 */
const PROVEN_MS = 30_000;
/** The longest pause during that time, as a multiple of the first. */
const SHORT_PAUSES = 5;
/** Milliseconds after an endpoint seemed to be down during which most turns go to the newest message. */
const TROUBLED_MS = 60_000;
const FIRST_PAUSE_MS = 1_000;
const LONGEST_PAUSE_MS = 5 * 60_000;
const GONE = 410;
const TOO_MANY_REQUESTS = 429;
const UNAVAILABLE = 503;

export interface EndpointHealthOptions {
  readonly database: Database;
  /** Milliseconds without a success after which a failing endpoint is disabled. */
  readonly disableAfterMs: number;
  readonly firstPauseMs?: number | undefined;
  /** Called when postponed deliveries may be sent. */
  readonly onForward: () => void;
  readonly log: Logger;
}

/**
 * An endpoint's health, judged by its responses: whether the endpoint fails or just one message, when to try again, and
 * since when it has been failing.
 */
export class EndpointHealth {
  readonly #id: string;
  readonly #options: EndpointHealthOptions;
  /** As in MySQL, where only this process writes it. */
  #failingSince: Date | null = null;
  #troubledUntil = -Infinity;
  #deliveredAt = -Infinity;
  /** Orders with a failed message since the last delivery. */
  readonly #failedOrders = new Set<string>();
  #isFailing = false;
  /** Whether postponed deliveries must be brought forward when it recovers. */
  #bringsForward = false;
  /** Whether that means all postponed deliveries, not only those that failed during the outage. */
  #bringsAllForward = false;
  /** Pauses since the last delivery, each twice as long as the one before. */
  #pauses = 0;
  #pausedUntil = -Infinity;
  /** Nothing is sent before this time, by request of the endpoint or because results can't be saved. */
  #heldUntil = -Infinity;

  constructor(endpoint: WebhookEndpoint, options: EndpointHealthOptions) {
    this.#id = endpoint.id;
    this.#options = options;
    this.#begin(endpoint);
  }

  /** Starts with only what the previous process has saved. */
  #begin({ failingSince }: WebhookEndpoint): void {
    const { firstPauseMs = FIRST_PAUSE_MS } = this.#options;
    const failedForMs = failingSince === null ? 0 : nowMs() - failingSince.getTime();
    this.#failingSince = failingSince;
    this.#failedOrders.clear();
    this.#isFailing = failedForMs > firstPauseMs;
    this.#bringsForward = this.#isFailing;
    this.#pauses = 0;
    this.#pausedUntil = -Infinity;
    this.#heldUntil = -Infinity;
  }

  /** Starts over after its URL was changed or it was enabled: all waiting deliveries are sent once it accepts one. */
  reset(endpoint: WebhookEndpoint): void {
    this.#begin(endpoint);
    // For deliveries that failed just after the others were brought forward.
    this.#bringsForward = true;
    this.#bringsAllForward = true;
  }

  /** Whether it fails for order after order, and is only probed. */
  get isFailing(): boolean {
    return this.#isFailing;
  }

  /** Whether it seemed to be down recently. */
  get isTroubled(): boolean {
    return performance.now() < this.#troubledUntil;
  }

  /** Whether nothing may be sent to it now. */
  get isPaused(): boolean {
    return performance.now() < Math.max(this.#pausedUntil, this.#heldUntil);
  }

  /** Whether it accepted a message since then, in the time of `performance.now()`. */
  hasTakenSince(startedAt: number): boolean {
    return this.#deliveredAt > startedAt;
  }

  /** Records that it accepted a message. @throws {DatabaseError} */
  async succeeded(): Promise<void> {
    const { database, onForward, log } = this.#options;
    const id = this.#id;
    const since = this.#failingSince;
    const bringForward = this.#bringsForward;
    this.#failedOrders.clear();
    this.#isFailing = false;
    this.#bringsForward = false;
    this.#failingSince = null;
    this.#pauses = 0;
    this.#pausedUntil = -Infinity;
    this.#deliveredAt = performance.now();
    try {
      if (bringForward) {
        log.info({ endpoint: id }, "webhook endpoint recovered");
        await bringAllForward(database, id, this.#bringsAllForward ? undefined : (since ?? undefined));
        this.#bringsAllForward = false;
        onForward();
      }
      // Last, so that a process that takes over earlier still brings deliveries forward.
      if (since !== null) await saveCondition(database, id, undefined);
    } catch (error) {
      this.#bringsForward ||= bringForward;
      this.#failingSince ??= since;
      throw error;
    }
  }

  /**
   * Records that it refused a message.
   *
   * @param at when it was sent. @returns the reason to disable the endpoint, if any. @throws {DatabaseError}
   */
  async failed(
    { orderId, isSuspected }: { readonly orderId: string; readonly isSuspected: boolean },
    at: Date,
    { status, error, retryAfterMs }: Answer,
  ): Promise<string | undefined> {
    const { database, log, disableAfterMs } = this.#options;
    const id = this.#id;
    if (status === GONE) return "it answered 410 Gone";
    const since = this.#failingSince;
    if (since !== null && at.getTime() - since.getTime() >= disableAfterMs)
      return `every attempt has failed since ${since.toISOString()}`;
    if (!this.#isFailing && !(isSuspected && this.#isProven)) this.#failedOrders.add(orderId);
    if (this.#failedOrders.size >= FAILED_ORDERS) {
      this.#failedOrders.clear();
      this.#isFailing = true;
      this.#bringsForward = true;
      this.#troubledUntil = performance.now() + TROUBLED_MS;
      log.warn({ endpoint: id, status, error }, "webhook endpoint is failing: pausing between attempts");
    }
    const isPausedAnew = this.#pause();
    const isHeld = retryAfterMs !== undefined && this.#asksToWait(status);
    if (isHeld) this.hold(Math.min(retryAfterMs, LONGEST_PAUSE_MS));
    if (since !== null && !isPausedAnew && !isHeld) return undefined;
    this.#failingSince ??= at;
    await saveCondition(database, id, {
      failingSince: this.#failingSince,
      lastError: error ?? `it answered ${status}`,
      nextAttemptAt: this.#isFailing || this.isPaused ? this.#nextAttemptAt : null,
    });
    return undefined;
  }

  /** Sends nothing for so many milliseconds. */
  hold(ms: number): void {
    this.#heldUntil = Math.max(this.#heldUntil, performance.now() + ms);
  }

  /**
   * Whether a `Retry-After` is about the endpoint and not just the refused message: always with 429, and with 503 if nothing
   * was delivered recently or other messages were refused too.
   */
  #asksToWait(status: number | null): boolean {
    if (status === TOO_MANY_REQUESTS) return true;
    return status === UNAVAILABLE && (!this.#isProven || this.#failedOrders.size > 1 || this.#isFailing);
  }

  get #nextAttemptAt(): Date {
    return new Date(nowMs() + Math.max(0, Math.max(this.#pausedUntil, this.#heldUntil) - performance.now()));
  }

  /** @returns whether another pause has begun. */
  #pause(): boolean {
    const { firstPauseMs = FIRST_PAUSE_MS } = this.#options;
    const now = performance.now();
    // Requests that were active when the pause began do not extend it.
    if (!this.#isFailing || now < this.#pausedUntil) return false;
    const wanted = firstPauseMs * 2 ** this.#pauses;
    const longest = this.#isProven ? SHORT_PAUSES * firstPauseMs : LONGEST_PAUSE_MS;
    this.#pausedUntil = now + Math.min(wanted, longest);
    if (wanted < longest) this.#pauses += 1;
    return true;
  }

  get #isProven(): boolean {
    return performance.now() - this.#deliveredAt < PROVEN_MS;
  }
}

/** Whether a response is about the endpoint, whatever it responds to other messages. */
export function isAboutEndpoint(status: Answer["status"]): boolean {
  return status === GONE || status === TOO_MANY_REQUESTS;
}
