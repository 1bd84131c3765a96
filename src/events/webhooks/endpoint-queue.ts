import type { Database } from "../../../db/database.ts";
import type { LoggedEvent } from "../../../db/event-log.ts";
import { recordAction } from "../../../db/operator-actions.ts";
import {
  bringAllForward,
  findDueLanes,
  findEvents,
  wasTried,
  type AttemptResult,
  type DueDelivery,
  type DuePlace,
} from "../../../db/webhook-deliveries.ts";
import { disableEndpoint, noteFailingSince, type WebhookEndpoint } from "../../../db/webhook-endpoints.ts";
import type { Committer } from "../../platform/group-commit.ts";
import type { Logger } from "../../platform/log.ts";
import { describeError } from "../../platform/describe-error.ts";
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
/** Messages by which an endpoint that fails is asked, at the least: of several orders, since one may be to blame itself. */
const PROBES = 3;
/** Milliseconds after which a message that waits is no new one any more. */
const NEW_MS = 5_000;
/** Milliseconds for which, after an endpoint seemed to be down, most turns are given to the newest message. */
const TROUBLED_MS = 60_000;
/** Every fourth turn is the oldest message's. */
const OLDEST_EVERY = 4;
/** Of what was never tried, a look sees all that is due since the last one, and so much of what came before again. */
const OVERLAP_MS = 5_000;
/** Milliseconds after which it sees all again: the clocks of other processes may be wrong. */
const LOOK_AGAIN_MS = 60_000;
const FIRST_PAUSE_MS = 1_000;
const LONGEST_PAUSE_MS = 5 * 60_000;
/** Milliseconds for which nothing is sent when it can't be written down what came of it. */
const UNSAVED_PAUSE_MS = 5_000;
const GONE = 410;
const TOO_MANY_REQUESTS = 429;
const UNAVAILABLE = 503;
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
  /** Its first message was tried before, or the one before that was given up: it may fail whatever the endpoint does. */
  isSuspected: boolean;
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
  #endpoint: WebhookEndpoint;
  /** As it is in MySQL, which this process alone writes. */
  #failingSince: Date | null = null;
  #disabledAt = -Infinity;
  /** What was never tried, the longest due first. */
  #ready: Lane[] = [];
  #suspects: Lane[] = [];
  /** Whether there may be more of these than were read. */
  #hasMoreSuspects = false;
  /** Of messages under way, until they are written down. */
  #suspectsRunning = 0;
  #oldRunning = 0;
  /** Turns since the oldest was last taken. */
  #turns = 0;
  #troubledUntil = -Infinity;
  #deliveredAt = -Infinity;
  /** Up to where a look has seen what was never tried, and when it began at the beginning. */
  #seen: { readonly place: DuePlace; readonly from: number } | undefined;
  /** Orders that are ready or under way. */
  readonly #busy = new Set<string>();
  /** Attempts until they are written down, and requests that wait for their answer. */
  readonly #running = new Set<Promise<void>>();
  #sending = 0;
  /** Those of them for which more has come, that no look finds while they are busy. */
  readonly #passedOver = new Set<string>();
  /** Whether a look at what is due may find something. */
  #mayFind = true;
  /** Whether something may have come since the newest was last looked for. */
  #mayFindNew = true;
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
      this.#isBehindWithAll = true;
    }
    this.#endpoint = endpoint;
  }

  /** There may be something to send; among it new deliveries of these orders. */
  wake(orderIds: Iterable<string> = []): void {
    for (const id of orderIds) if (this.#busy.has(id)) this.#passedOver.add(id);
    this.#mayFind = true;
    this.#mayFindNew = true;
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
    this.#seen = undefined;
  }

  get #maySend(): boolean {
    const isOn = this.#endpoint.state === "enabled" && this.#options.maySend();
    return isOn && performance.now() >= Math.max(this.#pausedUntil, this.#heldUntil);
  }

  /** How many messages may be sent beside those under way. */
  get #room(): number {
    const { concurrency } = this.#options;
    if (this.#isFailing) return Math.min(concurrency, Math.max(PROBES, this.#share)) - this.#running.size;
    return Math.min(concurrency - this.#sending, concurrency + UNSAVED - this.#running.size);
  }

  get #isProven(): boolean {
    return performance.now() - this.#deliveredAt < PROVEN_MS;
  }

  /** A quarter of the places: what the suspected may have, and what new messages find free of those that have waited. */
  get #share(): number {
    return Math.max(1, Math.floor(this.#options.concurrency / 4));
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
        if (this.#maySend && this.#isFailing) await this.#probe();
        else {
          while (this.#maySend && !this.#isFailing && this.#mayFind && this.#room > this.#ready.length)
            await this.#look();
          while (this.#maySend && !this.#isFailing && this.#room > 0) {
            const lane = this.#next();
            if (lane) this.#start(lane);
            else if (this.#ready.length > 0 && this.#mayFindNew) await this.#lookForNew();
            else break;
          }
        }
        if (!this.#maySend) this.#forget();
      }
    } catch (error) {
      const { log } = this.#options;
      log.warn(
        { endpoint: this.#endpoint.id, error: describeError(error) },
        "could not read webhook deliveries",
      );
      this.#mayFind = true;
    } finally {
      this.#isPumping = false;
    }
  }

  /** What was read and not begun is in MySQL, and found there again. */
  #forget(): void {
    for (const lane of [...this.#ready, ...this.#suspects]) this.#release(lane);
    this.#ready = [];
    this.#suspects = [];
    this.#hasMoreSuspects = false;
    this.#mayFind = true;
    this.#seen = undefined;
  }

  /** Which order's message is to be sent next. */
  #next(): Lane | undefined {
    const { concurrency } = this.#options;
    const hasMany = concurrency >= 4;
    // What failed before and what has waited may hang, and what has just come is to find a place even so.
    const isOnlyForNew = hasMany && this.#suspectsRunning + this.#oldRunning >= concurrency - this.#share;
    const mayTakeSuspect = this.#suspectsRunning < this.#share && !isOnlyForNew;
    // With few places, only what nobody else waits for: a quarter of them is none.
    if (mayTakeSuspect && (hasMany || this.#ready.length === 0) && this.#suspects.length > 0) {
      const suspect = this.#suspects.shift();
      if (this.#hasMoreSuspects && this.#suspects.length < this.#share) this.#mayFind = true;
      return suspect;
    }
    if (isOnlyForNew) {
      const index = this.#ready.findIndex((lane) => !isOld(lane));
      return index < 0 ? undefined : this.#ready.splice(index, 1)[0];
    }
    // What hung for an endpoint that seemed to be down is at the front: most turns are for what came after it.
    this.#turns = performance.now() < this.#troubledUntil ? (this.#turns + 1) % OLDEST_EVERY : 0;
    return this.#turns === 0 ? this.#ready.shift() : this.#ready.pop();
  }

  async #look(): Promise<void> {
    const { id } = this.#endpoint;
    const { database } = this.#options;
    const now = new Date();
    const except = [...this.#busy];
    this.#mayFind = false;
    if (this.#suspects.length < READ) {
      const { lanes, isAll } = await findDueLanes(database, id, { limit: READ, except, now });
      this.#mayFind = !isAll;
      this.#hasMoreSuspects = !isAll;
      this.#line(await this.#lanesOf(lanes));
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
    this.#line((await this.#lanesOf(lanes)).filter(({ isSuspected }) => !isSuspected));
  }

  /** Looks for what has just come, when all places for what has waited are taken. */
  async #lookForNew(): Promise<void> {
    const { id } = this.#endpoint;
    const { database } = this.#options;
    this.#mayFindNew = false;
    const look = { limit: READ_FOR_PROBE, except: [...this.#busy], newestFirst: true };
    const { lanes } = await findDueLanes(database, id, look);
    this.#line((await this.#lanesOf(lanes)).filter((lane) => !lane.isSuspected && !isOld(lane)));
  }

  /** Puts lanes where they belong in the line. */
  #line(lanes: readonly Lane[]): void {
    for (const lane of lanes) {
      this.#busy.add(lane.orderId);
      (lane.isSuspected ? this.#suspects : this.#ready).push(lane);
    }
    this.#ready.sort((a, b) => dueOf(a) - dueOf(b));
  }

  /** Asks an endpoint that fails by a few messages, of several orders from both ends of the line. */
  async #probe(): Promise<void> {
    if (!this.#mayFind || this.#room <= 0) return;
    this.#forget();
    const { database } = this.#options;
    const look = { limit: READ_FOR_PROBE, except: [...this.#busy] };
    const [oldest, newest] = [
      await findDueLanes(database, this.#endpoint.id, look),
      await findDueLanes(database, this.#endpoint.id, { ...look, newestFirst: true }),
    ];
    this.#mayFind = !oldest.isAll;
    const probes = leastTried(oldest.lanes, newest.lanes).slice(0, Math.max(0, this.#room));
    for (const lane of await this.#lanesOf(probes)) {
      if (!this.#maySend) break;
      this.#busy.add(lane.orderId);
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
    const [wasSuspected, wasOld] = [lane.isSuspected, !lane.isSuspected && isOld(lane)];
    if (wasSuspected) this.#suspectsRunning += 1;
    if (wasOld) this.#oldRunning += 1;
    const work = this.#advance(lane).finally(() => {
      if (wasSuspected) this.#suspectsRunning -= 1;
      if (wasOld) this.#oldRunning -= 1;
      this.#running.delete(work);
      this.#goOn();
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
      this.#hold(UNSAVED_PAUSE_MS);
      return false;
    });
    const [next] = lane.deliveries;
    if (!isSettled || next === undefined) return this.#release(lane);
    lane.isSuspected ||= wasTried(next);
    if (lane.isSuspected) this.#suspects.unshift(lane);
    else this.#ready.unshift(lane);
  }

  #release({ orderId }: Lane): void {
    this.#busy.delete(orderId);
    if (this.#passedOver.delete(orderId)) this.#mayFind = true;
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
    const tookOthers = this.#deliveredAt > startedAt;
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
      (isDelivered || !tookOthers || answer.status === GONE || answer.status === TOO_MANY_REQUESTS) &&
      (isDelivered ? this.#succeeded() : this.#failed({ ...delivery, isSuspected }, at, answer));
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
    this.#deliveredAt = performance.now();
    try {
      if (wasBehind) {
        log.info({ endpoint: id }, "the webhook endpoint answers again");
        await bringAllForward(database, id, this.#isBehindWithAll ? undefined : (since ?? undefined));
        this.#isBehindWithAll = false;
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

  async #failed(
    { orderId, isSuspected }: { readonly orderId: string; readonly isSuspected: boolean },
    at: Date,
    { status, error, retryAfterMs }: Answer,
  ): Promise<void> {
    const { database, log, disableAfterMs } = this.#options;
    const { id } = this.#endpoint;
    if (status === GONE) return this.#disable("it answered 410 Gone");
    const since = this.#failingSince;
    if (since !== null && at.getTime() - since.getTime() >= disableAfterMs)
      return this.#disable(`every attempt has failed since ${since.toISOString()}`);
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
      this.#hold(Math.min(retryAfterMs, LONGEST_PAUSE_MS));
    if (since !== null) return;
    this.#failingSince = at;
    await noteFailingSince(database, id, at);
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

function dueOf({ deliveries: [first] }: Lane): number {
  return first?.dueAt.getTime() ?? 0;
}

/** Whether it has waited for some time. */
function isOld(lane: Lane): boolean {
  return Date.now() - dueOf(lane) > NEW_MS;
}

/**
 * Lanes from both ends of a line: the newest, the oldest, and then any; those before whose first message was tried less
 * often.
 */
function leastTried(oldest: readonly DueDelivery[][], newest: readonly DueDelivery[][]): DueDelivery[][] {
  const lanes = new Map([...newest, ...oldest].map((lane) => [lane[0]?.orderId, lane]));
  const triesOf = ([first]: DueDelivery[]) => (first && wasTried(first) ? Math.max(1, first.attempts) : 0);
  const rankOf = (lane: DueDelivery[]) => {
    if (lane === fewestFirst(newest)) return -2;
    return lane === fewestFirst(oldest) ? -1 : Math.random();
  };
  const fewestFirst = (end: readonly DueDelivery[][]) => {
    const [first] = end.toSorted((a, b) => triesOf(a) - triesOf(b));
    return first && lanes.get(first[0]?.orderId);
  };
  return [...lanes.values()]
    .map((lane) => ({ lane, tries: triesOf(lane), rank: rankOf(lane) }))
    .toSorted((a, b) => a.tries - b.tries || a.rank - b.rank)
    .map(({ lane }) => lane);
}
