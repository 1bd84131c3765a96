import type { Database } from "../../../db/database.ts";
import { recordAction } from "../../../db/operator-actions.ts";
import {
  findDueLanes,
  findEvents,
  wasTried,
  type AttemptResult,
  type DueDelivery,
  type DuePlace,
} from "../../../db/webhook-deliveries.ts";
import { disableEndpoint, type WebhookEndpoint } from "../../../db/webhook-endpoints.ts";
import type { Committer } from "../../platform/group-commit.ts";
import type { Logger } from "../../platform/log.ts";
import { describeError } from "../../platform/describe-error.ts";
import { Repeat } from "../../platform/repeat.ts";
import { EndpointHealth, isAboutEndpoint } from "./endpoint-health.ts";
import { isOld, Lanes, leastTried, type Lane } from "./lanes.ts";
import { webhookMessage, type WebhookMessage } from "./message.ts";
import { signedHeaders } from "./signature.ts";
import { retryDelay } from "./retries.ts";
import type { Answer, Sender } from "./sender.ts";

/** Deliveries that are looked at in one go. */
const READ = 200;
/** The same from each end of the line, where a few are to be sent. */
const READ_FOR_PROBE = 20;
/** Results that may wait to be written down while further messages are sent. */
const UNSAVED = 100;
/** Messages by which an endpoint that fails is asked, at the least: of several orders, since one may be to blame itself. */
const PROBES = 3;
/** Of what was never tried, a look sees all that is due since the last one, and so much of what came before again. */
const OVERLAP_MS = 5_000;
/** Milliseconds after which it sees all again: the clocks of other processes may be wrong. */
const LOOK_AGAIN_MS = 60_000;
/** Milliseconds for which nothing is sent when it can't be written down what came of it. */
const UNSAVED_PAUSE_MS = 5_000;
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

/**
 * Sends one endpoint what is for it, and knows of no other, so that none waits for another. Several orders at the same
 * moment, but of each the next event only when it is written down that the one before was delivered or given up.
 *
 * What was tried before is suspected of failing by itself. It waits out a backoff of its own, comes as a share of what is
 * sent (a quarter of the places), and is no evidence against an endpoint that takes what others send.
 *
 * An endpoint that fails for one order after the other is left in peace for growing pauses, and then asked by a few
 * messages: the oldest and the newest of those least tried, so that no order at the head of the line can hold up the
 * others. So its outage uses up the attempts of few. When it takes one of them, all that waits is sent.
 */
export class EndpointQueue {
  readonly #options: EndpointQueueOptions;
  readonly #lanes: Lanes;
  readonly #health: EndpointHealth;
  /** Does what there is to do, whenever there may be something. */
  readonly #pump = new Repeat({
    run: () => this.#goOn(),
    everyMs: Infinity,
    onError: (error) => {
      const told = { endpoint: this.#endpoint.id, error: describeError(error) };
      this.#options.log.warn(told, "could not read webhook deliveries");
      this.#mayFind = true;
    },
  });
  #endpoint: WebhookEndpoint;
  #disabledAt = -Infinity;
  /** Whether there may be more of these than were read. */
  #hasMoreSuspects = false;
  /** Up to where a look has seen what was never tried, and when it began at the beginning. */
  #seen: { readonly place: DuePlace; readonly from: number } | undefined;
  /** Attempts until they are written down, and requests that wait for their answer. */
  readonly #running = new Set<Promise<void>>();
  #sending = 0;
  /** Whether a look at what is due may find something. */
  #mayFind = true;
  /** Whether something may have come since the newest was last looked for. */
  #mayFindNew = true;

  constructor(endpoint: WebhookEndpoint, options: EndpointQueueOptions) {
    this.#endpoint = endpoint;
    this.#options = options;
    this.#lanes = new Lanes(options.concurrency);
    this.#health = new EndpointHealth(endpoint, { ...options, onForward: () => this.wake() });
    this.#pump.start(Infinity);
  }

  /** Goes by these settings from now on. @param readAt when they were asked for, as `performance.now()` has it. */
  update(endpoint: WebhookEndpoint, readAt: number): void {
    if (readAt < this.#disabledAt) return;
    const isMoved = endpoint.url !== this.#endpoint.url;
    if (isMoved || this.#endpoint.state !== "enabled") {
      this.#health.beginAnew(endpoint);
      this.#seen = undefined;
    }
    this.#endpoint = endpoint;
  }

  /** There may be something to send; among it new deliveries of these orders. */
  wake(orderIds: Iterable<string> = []): void {
    this.#lanes.passOver(orderIds);
    this.#mayFind = true;
    this.#mayFindNew = true;
    this.#pump.wake();
  }

  /** Sends nothing more; requests under way go on. */
  stop(): void {
    this.#endpoint = { ...this.#endpoint, state: "disabled" };
    this.#forget();
  }

  /** Whether no request is under way. */
  get isIdle(): boolean {
    return this.#pump.isResting && this.#running.size === 0;
  }

  /** Ends for good. Resolves when no request is under way. */
  async end(): Promise<void> {
    this.stop();
    await this.#pump.stop();
    await Promise.all(this.#running);
  }

  get #maySend(): boolean {
    return this.#endpoint.state === "enabled" && this.#options.maySend() && !this.#health.isPaused;
  }

  /** How many messages may be sent beside those under way. */
  get #room(): number {
    const { concurrency } = this.#options;
    if (this.#health.isFailing)
      return Math.min(concurrency, Math.max(PROBES, this.#lanes.share)) - this.#running.size;
    return Math.min(concurrency - this.#sending, concurrency + UNSAVED - this.#running.size);
  }

  async #goOn(): Promise<void> {
    if (this.#maySend && this.#health.isFailing) await this.#probe();
    else {
      while (this.#maySendAll && this.#mayFind && this.#room > this.#lanes.ready) await this.#look();
      while (this.#maySendAll && this.#room > 0) {
        const lane = this.#next();
        if (lane) this.#start(lane);
        else if (this.#lanes.ready > 0 && this.#mayFindNew) await this.#lookForNew();
        else break;
      }
    }
    if (!this.#maySend) this.#forget();
  }

  get #maySendAll(): boolean {
    return this.#maySend && !this.#health.isFailing;
  }

  /** What was read and not begun is in MySQL, and found there again. */
  #forget(): void {
    this.#lanes.clear();
    this.#hasMoreSuspects = false;
    this.#mayFind = true;
    this.#seen = undefined;
  }

  #next(): Lane | undefined {
    const lane = this.#lanes.next(this.#health.isTroubled);
    if (lane?.isSuspected && this.#hasMoreSuspects && this.#lanes.suspects < this.#lanes.share)
      this.#mayFind = true;
    return lane;
  }

  async #look(): Promise<void> {
    const { id } = this.#endpoint;
    const { database } = this.#options;
    const now = new Date();
    const except = this.#lanes.orderIds;
    this.#mayFind = false;
    if (this.#lanes.suspects < READ) {
      const { lanes, isAll } = await findDueLanes(database, id, { limit: READ, except, now });
      this.#mayFind = !isAll;
      this.#hasMoreSuspects = !isAll;
      this.#lanes.add(await this.#lanesOf(lanes));
      return;
    }
    // There are more of these than can be sent soon: what was never tried is looked for behind them.
    if (this.#seen === undefined || performance.now() - this.#seen.from > LOOK_AGAIN_MS)
      this.#seen = { place: { dueAt: new Date(0), id: 0 }, from: performance.now() };
    const { place, from } = this.#seen;
    const { lanes, isAll, last } = await findDueLanes(database, id, {
      limit: READ,
      except,
      untriedAfter: place,
      now,
    });
    const overlap = { dueAt: new Date(now.getTime() - OVERLAP_MS), id: 0 };
    this.#seen = { place: isAll || last === undefined ? overlap : last, from };
    this.#mayFind = !isAll;
    this.#lanes.add((await this.#lanesOf(lanes)).filter(({ isSuspected }) => !isSuspected));
  }

  /** Looks for what has just come, when all places for what has waited are taken. */
  async #lookForNew(): Promise<void> {
    const { id } = this.#endpoint;
    const { database } = this.#options;
    this.#mayFindNew = false;
    const look = { limit: READ_FOR_PROBE, except: this.#lanes.orderIds, newestFirst: true };
    const { lanes } = await findDueLanes(database, id, look);
    this.#lanes.add((await this.#lanesOf(lanes)).filter((lane) => !lane.isSuspected && !isOld(lane)));
  }

  /** Asks an endpoint that fails by a few messages, of several orders from both ends of the line. */
  async #probe(): Promise<void> {
    if (!this.#mayFind || this.#room <= 0) return;
    this.#forget();
    const { database } = this.#options;
    const look = { limit: READ_FOR_PROBE, except: this.#lanes.orderIds };
    const [oldest, newest] = [
      await findDueLanes(database, this.#endpoint.id, look),
      await findDueLanes(database, this.#endpoint.id, { ...look, newestFirst: true }),
    ];
    this.#mayFind = !oldest.isAll;
    const probes = leastTried(oldest.lanes, newest.lanes).slice(0, Math.max(0, this.#room));
    for (const lane of await this.#lanesOf(probes)) {
      if (!this.#maySend) break;
      this.#start(lane);
    }
  }

  async #lanesOf(lanes: readonly DueDelivery[][]): Promise<Lane[]> {
    const { database } = this.#options;
    const ids = lanes.flatMap((lane) => lane.flatMap(({ eventId }) => (eventId === null ? [] : [eventId])));
    const events = await findEvents(database, ids);
    return lanes.flatMap((deliveries) => {
      const [first] = deliveries;
      if (first === undefined) return [];
      return [{ orderId: first.orderId, deliveries, events, isSuspected: wasTried(first) }];
    });
  }

  #start(lane: Lane): void {
    const end = this.#lanes.begin(lane);
    const work = this.#advance(lane).finally(() => {
      end();
      this.#running.delete(work);
      this.#pump.wake();
    });
    this.#running.add(work);
  }

  /** Sends the first message of a lane, which then waits for its next turn if there is more. */
  async #advance(lane: Lane): Promise<void> {
    const isSettled = await this.#attempt(lane).catch((error: unknown) => {
      const { log } = this.#options;
      log.warn(
        { endpoint: this.#endpoint.id, error: describeError(error) },
        "could not record webhook deliveries",
      );
      this.#health.hold(UNSAVED_PAUSE_MS);
      return false;
    });
    const [next] = lane.deliveries;
    if (isSettled && next !== undefined) {
      lane.isSuspected ||= wasTried(next);
      this.#lanes.putBack(lane);
    } else if (this.#lanes.release(lane)) this.#mayFind = true;
  }

  /** @returns whether the next one may be sent. @throws {DatabaseError} */
  async #attempt(lane: Lane): Promise<boolean> {
    const { deliveries, events, isSuspected } = lane;
    const { attempts, signal } = this.#options;
    const delivery = deliveries.shift();
    if (delivery === undefined) return true;
    const { url } = this.#endpoint;
    const at = new Date();
    const startedAt = performance.now();
    const message = webhookMessage(
      delivery,
      delivery.eventId === null ? undefined : events.get(delivery.eventId),
    );
    const answer = message ? await this.#send(message, at) : NOTHING_TO_SEND;
    // Given up since this process ends: whether it arrived is not known, and another one sends it again.
    if (answer.status === null && signal.aborted) return false;
    const isDelivered = answer.status !== null && answer.status >= 200 && answer.status < 300;
    lane.isSuspected = !isDelivered;
    const made = delivery.attempts + 1;
    // Of an address that it no longer has, a failure says nothing.
    const isMoved = url !== this.#endpoint.url;
    // Nor does that of one message while the endpoint took others: silence may be all that this one gets.
    const tookOthers = this.#health.hasTakenSince(startedAt);
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
      message &&
      !isMoved &&
      (isDelivered || !tookOthers || isAboutEndpoint(answer.status)) &&
      (isDelivered ? this.#health.succeeded() : this.#failed({ ...delivery, isSuspected }, at, answer));
    this.#pump.wake();
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

  async #failed(...failure: Parameters<EndpointHealth["failed"]>): Promise<void> {
    const reason = await this.#health.failed(...failure);
    if (reason !== undefined) await this.#disable(reason);
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
