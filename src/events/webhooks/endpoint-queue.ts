import type { Database } from "../../../db/database.ts";
import type { LoggedEvent } from "../../../db/event-log.ts";
import { recordAction } from "../../../db/operator-actions.ts";
import {
  bringAllForward,
  findDueLanes,
  findEvents,
  type AttemptResult,
  type DueDelivery,
} from "../../../db/webhook-deliveries.ts";
import { disableEndpoint, noteFailingSince, type WebhookEndpoint } from "../../../db/webhook-endpoints.ts";
import type { Committer } from "../../platform/group-commit.ts";
import type { Logger } from "../../platform/log.ts";
import { describe } from "../../platform/shutdown.ts";
import { webhookMessage, type WebhookMessage } from "./message.ts";
import { signedHeaders } from "./signature.ts";
import { retryDelay } from "./retries.ts";
import type { Answer, Sender } from "./sender.ts";

/** Deliveries that are looked at in one go. */
const READ = 200;
/** The same where one message is to be sent. */
const READ_FOR_ONE = 20;
/** Results that may wait to be written down while further messages are sent. */
const UNSAVED = 100;
/**
 * Orders of which a message failed, with none delivered between, after which the endpoint is asked by one message at a time,
 * and with growing pauses. One order that it does not take, however often, says nothing about the others.
 */
const FAILED_ORDERS = 5;
const FIRST_PAUSE_MS = 5_000;
const LONGEST_PAUSE_MS = 5 * 60_000;
/** Milliseconds for which nothing is sent when it can't be written down what came of it. */
const UNSAVED_PAUSE_MS = 5_000;
const GONE = 410;
const NOTHING_TO_SEND: Answer = {
  status: null,
  error: "the event is not in the log any more",
  response: null,
  durationMs: 0,
};

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
  readonly orderId: string;
  readonly deliveries: DueDelivery[];
  readonly events: ReadonlyMap<number, LoggedEvent>;
}

/**
 * Sends one endpoint what is for it, and knows of no other, so that none waits for another. Several orders at the same
 * moment, but of each the next event only when it is written down that the one before was delivered or given up.
 *
 * An endpoint that fails for one order after the other is left in peace for growing pauses, and then asked by one message:
 * so its outage uses up the attempts of few. When it answers, all that waits is sent at once.
 */
export class EndpointQueue {
  readonly #options: EndpointQueueOptions;
  #endpoint: WebhookEndpoint;
  /** As it is in MySQL, which this process alone writes. */
  #failingSince: Date | null = null;
  #disabledAt = -Infinity;
  #ready: Lane[] = [];
  /** Orders that are ready or under way. */
  readonly #busy = new Set<string>();
  /** Attempts until they are written down, and requests that wait for their answer. */
  readonly #running = new Set<Promise<void>>();
  #sending = 0;
  /** Those of them for which more has come, that no look finds while they are busy. */
  readonly #passedOver = new Set<string>();
  /** Whether a look at what is due may find something. */
  #mayFind = true;
  /** Orders of which a message has failed since one was delivered. */
  readonly #failedOrders = new Set<string>();
  #isFailing = false;
  /** Whether it has failed, and what waits for a later time was not brought forward yet. */
  #isBehind = false;
  /** Pauses since it last answered: each is twice as long as the one before. */
  #pauses = 0;
  #pausedUntil = -Infinity;
  /** Nothing is sent before, whatever others were answered: it asked for that, or results can't be written down. */
  #heldUntil = -Infinity;
  #pumping: Promise<void> | undefined;
  #isPumping = false;
  #again = false;

  constructor(endpoint: WebhookEndpoint, options: EndpointQueueOptions) {
    this.#endpoint = endpoint;
    this.#options = options;
    this.#begin(endpoint);
  }

  /** Goes by these settings from now on. @param readAt when they were asked for, as `performance.now()` has it. */
  update(endpoint: WebhookEndpoint, readAt: number): void {
    if (readAt < this.#disabledAt) return;
    const isMoved = endpoint.url !== this.#endpoint.url;
    if (isMoved || this.#endpoint.state !== "enabled") {
      this.#begin(endpoint);
      // What failed at the last moment, after all that waits was brought forward.
      this.#isBehind = true;
    }
    this.#endpoint = endpoint;
  }

  /** There may be something to send; among it new deliveries of these orders. */
  wake(orderIds: Iterable<string> = []): void {
    for (const id of orderIds) if (this.#busy.has(id)) this.#passedOver.add(id);
    this.#mayFind = true;
    this.#goOn();
  }

  /** Sends nothing more; requests under way go on. */
  stop(): void {
    this.#endpoint = { ...this.#endpoint, state: "disabled" };
    this.#forget();
  }

  /** Whether no request is under way. */
  get isIdle(): boolean {
    return !this.#isPumping && this.#running.size === 0;
  }

  /** Resolves when no request is under way. */
  async idle(): Promise<void> {
    while (!this.isIdle) await Promise.all([this.#pumping, ...this.#running]);
  }

  /** Nothing is known of it but what another process has found out before this one took over. */
  #begin({ failingSince }: WebhookEndpoint): void {
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

  get #maySend(): boolean {
    const isOn = this.#endpoint.state === "enabled" && this.#options.maySend();
    return isOn && performance.now() >= Math.max(this.#pausedUntil, this.#heldUntil);
  }

  /** How many messages may be sent beside those under way. */
  get #room(): number {
    const { concurrency } = this.#options;
    if (this.#isFailing) return 1 - this.#running.size;
    return Math.min(concurrency - this.#sending, concurrency + UNSAVED - this.#running.size);
  }

  #goOn(): void {
    this.#again = true;
    if (this.#isPumping) return;
    this.#isPumping = true;
    this.#pumping = this.#pump();
  }

  async #pump(): Promise<void> {
    try {
      while (this.#again) {
        this.#again = false;
        while (this.#maySend && this.#mayFind && this.#room > this.#ready.length) await this.#look();
        if (this.#maySend)
          for (const lane of this.#ready.splice(0, Math.max(0, this.#room))) this.#start(lane);
        else this.#forget();
      }
    } catch (error) {
      const { log } = this.#options;
      log.warn({ endpoint: this.#endpoint.id, error: describe(error) }, "webhooks could not be read");
      this.#mayFind = true;
    } finally {
      this.#isPumping = false;
    }
  }

  /** What was read and not begun is in MySQL, and found there again. */
  #forget(): void {
    for (const lane of this.#ready) this.#release(lane);
    this.#ready = [];
    this.#mayFind = true;
  }

  async #look(): Promise<void> {
    const { database } = this.#options;
    this.#mayFind = false;
    const { lanes, isAll } = await findDueLanes(database, this.#endpoint.id, {
      limit: this.#isFailing ? READ_FOR_ONE : READ,
      except: [...this.#busy],
    });
    if (!isAll) this.#mayFind = true;
    const ids = lanes.flatMap((lane) => lane.flatMap(({ eventId }) => (eventId === null ? [] : [eventId])));
    const events = await findEvents(database, ids);
    for (const deliveries of lanes) {
      const [first] = deliveries;
      if (first === undefined) continue;
      this.#busy.add(first.orderId);
      this.#ready.push({ orderId: first.orderId, deliveries, events });
    }
  }

  #start(lane: Lane): void {
    const work = this.#advance(lane).finally(() => {
      this.#running.delete(work);
      this.#goOn();
    });
    this.#running.add(work);
  }

  /** Sends the first message of a lane, which then waits for its next turn if there is more. */
  async #advance(lane: Lane): Promise<void> {
    const isSettled = await this.#attempt(lane).catch((error: unknown) => {
      const { log } = this.#options;
      log.warn({ endpoint: this.#endpoint.id, error: describe(error) }, "webhooks could not be noted");
      this.#hold(UNSAVED_PAUSE_MS);
      return false;
    });
    if (isSettled && lane.deliveries.length > 0) this.#ready.unshift(lane);
    else this.#release(lane);
  }

  #release({ orderId }: Lane): void {
    this.#busy.delete(orderId);
    if (this.#passedOver.delete(orderId)) this.#mayFind = true;
  }

  /** @returns whether the next one may be sent. @throws {DatabaseError} */
  async #attempt({ deliveries, events }: Lane): Promise<boolean> {
    const { attempts, signal } = this.#options;
    const delivery = deliveries.shift();
    if (delivery === undefined) return true;
    const { url } = this.#endpoint;
    const at = new Date();
    const message = webhookMessage(
      delivery,
      delivery.eventId === null ? undefined : events.get(delivery.eventId),
    );
    const answer = message ? await this.#send(message, at) : NOTHING_TO_SEND;
    // Given up since this process ends: whether it arrived is not known, and another one sends it again.
    if (answer.status === null && signal.aborted) return false;
    const isDelivered = answer.status !== null && answer.status >= 200 && answer.status < 300;
    const made = delivery.attempts + 1;
    // Of an address that it no longer has, a failure says nothing.
    const isMoved = url !== this.#endpoint.url;
    const scheduled = isDelivered || !message ? undefined : this.#delay(made, answer);
    const delay = isMoved && scheduled !== undefined ? 0 : scheduled;
    const { retryAfterMs, ...kept } = answer;
    const saved = attempts.submit({
      deliveryId: delivery.id,
      attempt: { at, url, ...kept },
      state: isDelivered ? "delivered" : delay === undefined ? "failed" : "pending",
      attempts: made,
      dueAt: new Date(Date.now() + (delay ?? 0)),
    });
    // What it says about the endpoint counts at once; and while it is written down, others may be sent.
    const noted =
      message && !isMoved && (isDelivered ? this.#succeeded() : this.#failed(delivery.orderId, at, answer));
    this.#goOn();
    await Promise.all([saved, noted]);
    return delay === undefined;
  }

  async #send(message: WebhookMessage, at: Date): Promise<Answer> {
    const { sender, signal } = this.#options;
    const headers = {
      "content-type": "application/json",
      "user-agent": "Conveyor-Webhooks/1",
      ...signedHeaders(this.#endpoint, { ...message, at }),
    };
    this.#sending += 1;
    try {
      return await sender.post(this.#endpoint.url, { headers, body: message.body }, signal);
    } finally {
      this.#sending -= 1;
    }
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
    const { id } = this.#endpoint;
    const since = this.#failingSince;
    const wasBehind = this.#isBehind;
    this.#failedOrders.clear();
    this.#isFailing = false;
    this.#isBehind = false;
    this.#failingSince = null;
    this.#pauses = 0;
    this.#pausedUntil = -Infinity;
    try {
      if (wasBehind) {
        log.info({ endpoint: id }, "the webhook endpoint answers again");
        await bringAllForward(database, id);
        this.wake();
      }
      // Last, so that whoever takes over before knows that there is something to bring forward.
      if (since !== null) await noteFailingSince(database, id, null);
    } catch (error) {
      this.#isBehind ||= wasBehind;
      this.#failingSince ??= since;
      throw error;
    }
  }

  async #failed(orderId: string, at: Date, { status, error, retryAfterMs }: Answer): Promise<void> {
    const { database, log, disableAfterMs } = this.#options;
    const { id } = this.#endpoint;
    if (status === GONE) return this.#disable("it answered 410 Gone");
    const since = this.#failingSince;
    if (since !== null && at.getTime() - since.getTime() >= disableAfterMs)
      return this.#disable(`every attempt has failed since ${since.toISOString()}`);
    if (!this.#isFailing) this.#failedOrders.add(orderId);
    if (this.#failedOrders.size >= FAILED_ORDERS) {
      this.#failedOrders.clear();
      this.#isFailing = true;
      this.#isBehind = true;
      log.warn({ endpoint: id, status, error }, "the webhook endpoint fails: pausing between attempts");
    }
    this.#pause();
    if (retryAfterMs !== undefined) this.#hold(Math.min(retryAfterMs, LONGEST_PAUSE_MS));
    if (since !== null) return;
    this.#failingSince = at;
    await noteFailingSince(database, id, at);
  }

  #pause(): void {
    const { firstPauseMs = FIRST_PAUSE_MS } = this.#options;
    const now = performance.now();
    // What was under way when a pause began, and failed like the rest, is no reason for a longer one.
    if (!this.#isFailing || now < this.#pausedUntil) return;
    this.#pausedUntil = now + Math.min(firstPauseMs * 2 ** this.#pauses, LONGEST_PAUSE_MS);
    this.#pauses += 1;
  }

  #hold(ms: number): void {
    this.#heldUntil = Math.max(this.#heldUntil, performance.now() + ms);
  }

  async #disable(reason: string): Promise<void> {
    // Others that were under way may say the same.
    if (this.#endpoint.state !== "enabled") return;
    const { database, log } = this.#options;
    const { id } = this.#endpoint;
    this.#endpoint = { ...this.#endpoint, state: "disabled" };
    this.#disabledAt = Infinity;
    try {
      await disableEndpoint(database, id, reason);
    } finally {
      this.#disabledAt = performance.now();
    }
    await recordAction(database, {
      actor: "conveyor",
      action: "webhook-disable",
      target: id,
      details: { reason },
    });
    log.warn({ endpoint: id, reason }, "the webhook endpoint was disabled");
  }
}
