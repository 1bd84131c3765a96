import type { Database } from "../../db/database.ts";
import type { LoggedEvent } from "../../db/event-log.ts";
import { recordAction } from "../../db/operator-actions.ts";
import {
  bringForward,
  findDueLanes,
  findEvents,
  type AttemptResult,
  type DueDelivery,
} from "../../db/webhook-deliveries.ts";
import { disableEndpoint, noteFailingSince, type WebhookEndpoint } from "../../db/webhook-endpoints.ts";
import type { Committer } from "../../src/group-commit.ts";
import type { Logger } from "../../src/log.ts";
import { describe } from "../../src/shutdown.ts";
import { webhookMessage } from "../../src/webhooks/message.ts";
import { signedHeaders } from "../../src/webhooks/signature.ts";
import { retryDelay } from "./retries.ts";
import type { Answer, Sender } from "./sender.ts";

/** Deliveries that are looked at in one go. */
const READ = 200;
/** Deliveries brought forward by one statement. */
const BROUGHT = 1_000;
/** Failures in a row after which an endpoint is asked by one message at a time, and with growing pauses. */
const FAILURES = 5;
const FIRST_PAUSE_MS = 5_000;
const LONGEST_PAUSE_MS = 5 * 60_000;
/** Milliseconds for which nothing is sent when it can't be written down what came of it. */
const UNSAVED_PAUSE_MS = 5_000;
const GONE = 410;

export interface EndpointQueueOptions {
  readonly database: Database;
  readonly sender: Sender;
  /** Writes down how attempts ended. */
  readonly attempts: Committer<AttemptResult, void>;
  /** Whether this process still is the one that sends. */
  readonly maySend: () => boolean;
  /** Messages that one endpoint is sent at the same moment. */
  readonly concurrency: number;
  /** Milliseconds of nothing but failures after which an endpoint is disabled. */
  readonly disableAfterMs: number;
  readonly delaysMs?: readonly number[] | undefined;
  readonly firstPauseMs?: number | undefined;
  /** Gives up requests under way. */
  readonly signal: AbortSignal;
  readonly log: Logger;
}

/** What waits for its turn: the deliveries of one order, oldest event first, with their events. */
interface Lane {
  readonly deliveries: readonly DueDelivery[];
  readonly events: ReadonlyMap<number, LoggedEvent>;
}

/**
 * Sends one endpoint what is for it, and knows of no other, so that none waits for another. Several orders at the same
 * moment, but of each the next event only when the one before has been delivered or given up.
 *
 * An endpoint that fails again and again is left in peace for growing pauses, and then asked by one message: so its
 * outage uses up the attempts of few. When it answers, all that waits is sent at once.
 */
export class EndpointQueue {
  readonly #options: EndpointQueueOptions;
  #endpoint: WebhookEndpoint;
  #ready: Lane[] = [];
  /** Orders that are ready or under way. */
  readonly #busy = new Set<string>();
  readonly #running = new Set<Promise<void>>();
  #failures = 0;
  /** Pauses since it last answered: each is twice as long as the one before. */
  #pauses = 0;
  #pausedUntil = -Infinity;
  #pumping: Promise<void> | undefined;
  #again = false;

  constructor(endpoint: WebhookEndpoint, options: EndpointQueueOptions) {
    this.#endpoint = endpoint;
    this.#options = options;
    // What another process has found out before this one took over.
    const failedForMs = endpoint.failingSince === null ? 0 : Date.now() - endpoint.failingSince.getTime();
    if (failedForMs > (options.firstPauseMs ?? FIRST_PAUSE_MS)) this.#failures = FAILURES;
  }

  /** Goes by these settings from now on. */
  update(endpoint: WebhookEndpoint): void {
    this.#endpoint = endpoint;
  }

  /** There may be something to send. */
  wake(): void {
    this.#again = true;
    this.#pumping ??= this.#pump()
      .catch((error: unknown) => {
        const { log } = this.#options;
        log.warn({ endpoint: this.#endpoint.id, error: describe(error) }, "webhooks could not be read");
      })
      .finally(() => (this.#pumping = undefined));
  }

  /** Sends nothing more; requests under way go on. */
  stop(): void {
    this.#endpoint = { ...this.#endpoint, state: "disabled" };
    this.#forget();
  }

  /** Whether no request is under way. */
  get isIdle(): boolean {
    return this.#pumping === undefined && this.#running.size === 0;
  }

  /** Resolves when no request is under way. */
  async idle(): Promise<void> {
    while (!this.isIdle) await Promise.all([this.#pumping, ...this.#running]);
  }

  get #maySend(): boolean {
    const isOn = this.#endpoint.state === "enabled" && this.#options.maySend();
    return isOn && performance.now() >= this.#pausedUntil;
  }

  get #isFailing(): boolean {
    return this.#failures >= FAILURES;
  }

  async #pump(): Promise<void> {
    const { concurrency } = this.#options;
    while (this.#again) {
      this.#again = false;
      if (!this.#maySend) {
        this.#forget();
        return;
      }
      const room = (this.#isFailing ? 1 : concurrency) - this.#running.size;
      if (room <= 0) return;
      if (this.#ready.length < room) await this.#read();
      if (!this.#maySend) continue;
      for (const lane of this.#ready.splice(0, room)) this.#start(lane);
    }
  }

  /** What was read and not begun is in MySQL, and found there again. */
  #forget(): void {
    for (const { deliveries } of this.#ready) this.#release(deliveries);
    this.#ready = [];
  }

  #release(deliveries: readonly DueDelivery[]): void {
    const [first] = deliveries;
    if (first) this.#busy.delete(first.orderId);
  }

  async #read(): Promise<void> {
    const { database } = this.#options;
    const lanes = await findDueLanes(database, this.#endpoint.id, { limit: READ, except: [...this.#busy] });
    const ids = lanes.flatMap((lane) => lane.flatMap(({ eventId }) => (eventId === null ? [] : [eventId])));
    const events = await findEvents(database, ids);
    for (const deliveries of lanes) {
      const [first] = deliveries;
      if (first === undefined) continue;
      this.#busy.add(first.orderId);
      this.#ready.push({ deliveries, events });
    }
  }

  #start(lane: Lane): void {
    const work = this.#run(lane)
      .catch((error: unknown) => {
        const { log } = this.#options;
        log.warn({ endpoint: this.#endpoint.id, error: describe(error) }, "webhooks could not be noted");
        this.#pausedUntil = performance.now() + UNSAVED_PAUSE_MS;
      })
      .finally(() => {
        this.#running.delete(work);
        this.#release(lane.deliveries);
        this.wake();
      });
    this.#running.add(work);
  }

  /** One order's events, one after the other, until one is not delivered and will be tried again. */
  async #run({ deliveries, events }: Lane): Promise<void> {
    for (const delivery of deliveries) {
      if (!this.#maySend) return;
      const event = delivery.eventId === null ? undefined : events.get(delivery.eventId);
      const isSettled = await this.#attempt(delivery, event);
      if (!isSettled) return;
    }
  }

  /** @returns whether the next event of the order may be sent. @throws {DatabaseError} */
  async #attempt(delivery: DueDelivery, event: LoggedEvent | undefined): Promise<boolean> {
    const { sender, attempts, signal } = this.#options;
    const endpoint = this.#endpoint;
    const at = new Date();
    const message = webhookMessage(delivery, event);
    const answer: Answer = message
      ? await sender.post(
          endpoint.url,
          {
            headers: {
              "content-type": "application/json",
              "user-agent": "Conveyor-Webhooks/1",
              ...signedHeaders(endpoint, { ...message, at }),
            },
            body: message.body,
          },
          signal,
        )
      : { status: null, error: "the event is not in the log any more", response: null, durationMs: 0 };
    // Given up since this process ends: whether it arrived is not known, and another one sends it again.
    if (answer.status === null && signal.aborted) return false;
    const isDelivered = answer.status !== null && answer.status >= 200 && answer.status < 300;
    const made = delivery.attempts + 1;
    const delay = isDelivered || !message ? undefined : this.#delay(made, answer);
    const { retryAfterMs, ...kept } = answer;
    await attempts.submit({
      deliveryId: delivery.id,
      attempt: { at, url: endpoint.url, ...kept },
      state: isDelivered ? "delivered" : delay === undefined ? "failed" : "pending",
      attempts: made,
      dueAt: new Date(Date.now() + (delay ?? 0)),
    });
    if (isDelivered) await this.#succeeded();
    else if (message) await this.#failed(at, answer);
    return delay === undefined;
  }

  #delay(attempts: number, { retryAfterMs }: Answer): number | undefined {
    const { delaysMs } = this.#options;
    return retryDelay(attempts, {
      ...(delaysMs && { delaysMs }),
      ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
    });
  }

  async #succeeded(): Promise<void> {
    const { database, log } = this.#options;
    const { id, failingSince } = this.#endpoint;
    const wasFailing = this.#isFailing;
    this.#failures = 0;
    this.#pauses = 0;
    this.#pausedUntil = -Infinity;
    if (failingSince !== null) {
      this.#endpoint = { ...this.#endpoint, failingSince: null };
      await noteFailingSince(database, id, null);
    }
    if (!wasFailing) return;
    log.info({ endpoint: id }, "the webhook endpoint answers again");
    const now = new Date();
    while ((await bringForward(database, id, { now, limit: BROUGHT })) === BROUGHT);
  }

  async #failed(at: Date, { status, error, retryAfterMs }: Answer): Promise<void> {
    const { database, log, disableAfterMs, firstPauseMs = FIRST_PAUSE_MS } = this.#options;
    const { id, failingSince } = this.#endpoint;
    this.#failures += 1;
    if (status === GONE) {
      await this.#disable("it answered 410 Gone");
      return;
    }
    if (failingSince === null) {
      this.#endpoint = { ...this.#endpoint, failingSince: at };
      await noteFailingSince(database, id, at);
    } else if (at.getTime() - failingSince.getTime() >= disableAfterMs) {
      await this.#disable(`every attempt has failed since ${failingSince.toISOString()}`);
      return;
    }
    if (this.#failures === FAILURES)
      log.warn({ endpoint: id, status, error }, "the webhook endpoint fails: pausing between attempts");
    const now = performance.now();
    // What was under way when a pause began, and failed like the rest, is no reason for a longer one.
    if (this.#isFailing && now >= this.#pausedUntil) {
      this.#pausedUntil = now + Math.min(firstPauseMs * 2 ** this.#pauses, LONGEST_PAUSE_MS);
      this.#pauses += 1;
    }
    const asked = retryAfterMs === undefined ? 0 : Math.min(retryAfterMs, LONGEST_PAUSE_MS);
    this.#pausedUntil = Math.max(this.#pausedUntil, now + asked);
  }

  async #disable(reason: string): Promise<void> {
    const { database, log } = this.#options;
    const { id } = this.#endpoint;
    this.#endpoint = { ...this.#endpoint, state: "disabled" };
    await disableEndpoint(database, id, reason);
    await recordAction(database, {
      actor: "conveyor",
      action: "webhook-disable",
      target: id,
      details: { reason },
    });
    log.warn({ endpoint: id, reason }, "the webhook endpoint was disabled");
  }
}
