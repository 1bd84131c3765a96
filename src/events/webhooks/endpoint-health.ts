import type { Database } from "../../../db/database.ts";
import { bringAllForward } from "../../../db/webhook-deliveries.ts";
import { noteFailingSince, type WebhookEndpoint } from "../../../db/webhook-endpoints.ts";
import type { Logger } from "../../platform/log.ts";
import type { Answer } from "./sender.ts";

/**
 * Orders of which a message failed, with none delivered between, after which the endpoint is asked by a few messages at a
 * time, and with growing pauses. One order that it does not take, however often, says nothing about the others.
 */
const FAILED_ORDERS = 5;
/**
 * Milliseconds for which an endpoint that took a message is not taken for down because it refuses again what it has refused
 * before; and for which the pauses of one that seems to be down stay short, since a run of refused messages may be all there
 * is to it.
 */
const PROVEN_MS = 30_000;
/** How many times the first pause the longest one is meanwhile. */
const SHORT_PAUSES = 5;
/** Milliseconds for which, after an endpoint seemed to be down, most turns are given to the newest message. */
const TROUBLED_MS = 60_000;
const FIRST_PAUSE_MS = 1_000;
const LONGEST_PAUSE_MS = 5 * 60_000;
const GONE = 410;
const TOO_MANY_REQUESTS = 429;
const UNAVAILABLE = 503;

export interface EndpointHealthOptions {
  readonly database: Database;
  /** Milliseconds of nothing but failures after which an endpoint is disabled. */
  readonly disableAfterMs: number;
  readonly firstPauseMs?: number | undefined;
  /** What waited for a later time may be sent now. */
  readonly onForward: () => void;
  readonly log: Logger;
}

/**
 * What an endpoint's answers say about the endpoint: whether it fails or one message does, when to ask it again, and for how
 * long it has failed.
 */
export class EndpointHealth {
  readonly #id: string;
  readonly #options: EndpointHealthOptions;
  /** As it is in MySQL, which this process alone writes. */
  #failingSince: Date | null = null;
  #troubledUntil = -Infinity;
  #deliveredAt = -Infinity;
  /** Orders of which a message has failed since one was delivered. */
  readonly #failedOrders = new Set<string>();
  #isFailing = false;
  /** Whether it has failed, and what waits for a later time was not brought forward yet. */
  #isBehind = false;
  /** The same of all that waits, and not only of what has failed since it began to fail. */
  #isBehindWithAll = false;
  /** Pauses since it last answered: each is twice as long as the one before. */
  #pauses = 0;
  #pausedUntil = -Infinity;
  /** Nothing is sent before, whatever others were answered: it asked for that, or results can't be written down. */
  #heldUntil = -Infinity;

  constructor(endpoint: WebhookEndpoint, options: EndpointHealthOptions) {
    this.#id = endpoint.id;
    this.#options = options;
    this.begin(endpoint);
  }

  /** Nothing is known of it but what another process has found out before this one took over. */
  begin({ failingSince }: WebhookEndpoint): void {
    const { firstPauseMs = FIRST_PAUSE_MS } = this.#options;
    const failedForMs = failingSince === null ? 0 : Date.now() - failingSince.getTime();
    this.#failingSince = failingSince;
    this.#failedOrders.clear();
    this.#isFailing = failedForMs > firstPauseMs;
    this.#isBehind = this.#isFailing;
    this.#pauses = 0;
    this.#pausedUntil = -Infinity;
    this.#heldUntil = -Infinity;
  }

  /** Its address was changed, or it was enabled: all that waits is to be sent when it takes the first message. */
  beginAnew(endpoint: WebhookEndpoint): void {
    this.begin(endpoint);
    // What failed at the last moment, after all that waits was brought forward.
    this.#isBehind = true;
    this.#isBehindWithAll = true;
  }

  /** Whether it fails for one order after the other, and is asked by a few messages only. */
  get isFailing(): boolean {
    return this.#isFailing;
  }

  /** Whether it seemed to be down not long ago. */
  get isTroubled(): boolean {
    return performance.now() < this.#troubledUntil;
  }

  /** Whether it is to be left in peace for now. */
  get isPaused(): boolean {
    return performance.now() < Math.max(this.#pausedUntil, this.#heldUntil);
  }

  /** Whether it took a message since then, as `performance.now()` has it. */
  hasTakenSince(startedAt: number): boolean {
    return this.#deliveredAt > startedAt;
  }

  /** It took a message. @throws {DatabaseError} */
  async succeeded(): Promise<void> {
    const { database, onForward, log } = this.#options;
    const id = this.#id;
    const since = this.#failingSince;
    const wasBehind = this.#isBehind;
    this.#failedOrders.clear();
    this.#isFailing = false;
    this.#isBehind = false;
    this.#failingSince = null;
    this.#pauses = 0;
    this.#pausedUntil = -Infinity;
    this.#deliveredAt = performance.now();
    try {
      if (wasBehind) {
        log.info({ endpoint: id }, "the webhook endpoint answers again");
        await bringAllForward(database, id, this.#isBehindWithAll ? undefined : (since ?? undefined));
        this.#isBehindWithAll = false;
        onForward();
      }
      // Last, so that whoever takes over before knows that there is something to bring forward.
      if (since !== null) await noteFailingSince(database, id, null);
    } catch (error) {
      this.#isBehind ||= wasBehind;
      this.#failingSince ??= since;
      throw error;
    }
  }

  /**
   * It refused a message.
   *
   * @param at when it was sent. @returns why the endpoint is to be disabled, if it is. @throws {DatabaseError}
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
      this.#isBehind = true;
      this.#troubledUntil = performance.now() + TROUBLED_MS;
      log.warn({ endpoint: id, status, error }, "the webhook endpoint fails: pausing between attempts");
    }
    this.#pause();
    if (retryAfterMs !== undefined && this.#asksForPeace(status))
      this.hold(Math.min(retryAfterMs, LONGEST_PAUSE_MS));
    if (since !== null) return undefined;
    this.#failingSince = at;
    await noteFailingSince(database, id, at);
    return undefined;
  }

  /** Has nothing sent for so long. */
  hold(ms: number): void {
    this.#heldUntil = Math.max(this.#heldUntil, performance.now() + ms);
  }

  /**
   * Whether a `Retry-After` is about the endpoint, and not about the one message that was refused: 429 says so, and 503 does
   * if nothing was delivered lately, or others were refused as well.
   */
  #asksForPeace(status: number | null): boolean {
    if (status === TOO_MANY_REQUESTS) return true;
    return status === UNAVAILABLE && (!this.#isProven || this.#failedOrders.size > 1 || this.#isFailing);
  }

  #pause(): void {
    const { firstPauseMs = FIRST_PAUSE_MS } = this.#options;
    const now = performance.now();
    // What was under way when a pause began, and failed like the rest, is no reason for a longer one.
    if (!this.#isFailing || now < this.#pausedUntil) return;
    const wanted = firstPauseMs * 2 ** this.#pauses;
    const longest = this.#isProven ? SHORT_PAUSES * firstPauseMs : LONGEST_PAUSE_MS;
    this.#pausedUntil = now + Math.min(wanted, longest);
    if (wanted < longest) this.#pauses += 1;
  }

  get #isProven(): boolean {
    return performance.now() - this.#deliveredAt < PROVEN_MS;
  }
}

/** Whether an answer is about the endpoint, whatever it answers to other messages. */
export function isAboutEndpoint(status: Answer["status"]): boolean {
  return status === GONE || status === TOO_MANY_REQUESTS;
}
