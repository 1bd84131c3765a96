import { recordAction } from "../../../db/operator-actions.ts";
import {
  findDueLanes,
  wasTried,
  type AttemptResult,
  type DueDelivery,
  type DuePlace,
} from "../../../db/webhook-sending.ts";
import { findEvents } from "../../../db/event-log.ts";
import { disableEndpoint, type WebhookEndpoint } from "../../../db/webhook-endpoints.ts";
import type { Committer } from "../../platform/group-commit.ts";
import { describeError } from "../../platform/describe-error.ts";
import { Repeat } from "../../platform/repeat.ts";
import { EndpointHealth, isAboutEndpoint, type EndpointHealthOptions } from "./endpoint-health.ts";
import { isOld, Lanes, leastTried, type Lane } from "./lanes.ts";
import { webhookMessage, type WebhookMessage } from "./message.ts";
import { signedHeaders } from "./signature.ts";
import { retryDelay } from "./retries.ts";
import type { Answer, Sender } from "./sender.ts";
import { nowMs, timestamp } from "../../platform/clock.ts";

/** Deliveries per read. */
const READ = 200;
/** The same from each end of the queue, to find a few messages to probe with. */
const READ_FOR_PROBE = 20;
/** Results that may wait to be saved while more messages are sent. */
const UNSAVED = 100;
/** Minimum number of messages to probe a failing endpoint with: of several orders, since one may itself be at fault. */
const PROBES = 3;
/** A read of untried deliveries starts this many milliseconds before the end of the last one. */
const OVERLAP_MS = 5_000;
/** Milliseconds after which it reads all again, since other processes' clocks may be wrong. */
const REREAD_MS = 60_000;
/** Milliseconds without sending after a result could not be saved. */
const UNSAVED_PAUSE_MS = 5_000;
const NOTHING_TO_SEND: Answer = {
  status: null,
  error: "the event is no longer in the log",
  response: null,
  durationMs: 0,
};

export interface EndpointQueueOptions extends Omit<EndpointHealthOptions, "onForward"> {
  readonly sender: Sender;
  /** Saves the results of attempts. */
  readonly attempts: Committer<AttemptResult, void>;
  /** Whether this process still holds the lease. */
  readonly maySend: () => boolean;
  /** Concurrent messages to one endpoint. */
  readonly concurrency: number;
  readonly delaysMs?: readonly number[] | undefined;
  /** Aborts active requests. */
  readonly signal: AbortSignal;
}

/**
 * Sends the deliveries of one endpoint, independently of all others. It sends for several orders at once, but the next
 * event of an order only after it is saved that the previous one was delivered or has failed for good.
 *
 * A delivery that was tried before is a suspect: the message itself may be at fault. Each has its own backoff, all together
 * get at most a quarter of the places, and they are no evidence against an endpoint that accepts other messages.
 *
 * An endpoint that fails for order after order is left alone for growing pauses, then probed with a few messages: the oldest
 * and the newest of those tried least, so that no order at the head of the queue can block the others. So an outage costs
 * only a few orders their attempts. When the endpoint accepts one message, all waiting ones are sent.
 */
export class EndpointQueue {
  readonly #options: EndpointQueueOptions;
  readonly #lanes: Lanes;
  readonly #health: EndpointHealth;
  /** Sends what is due, when woken. */
  readonly #pump = new Repeat({
    run: () => this.#sendDue(),
    everyMs: Infinity,
    onError: (error) => {
      const fields = { endpoint: this.#endpoint.id, error: describeError(error) };
      this.#options.log.warn(fields, "could not read webhook deliveries");
      this.#mayFind = true;
    },
  });
  #endpoint: WebhookEndpoint;
  #disabledAt = -Infinity;
  /** Whether there may be more suspects than were read. */
  #hasMoreSuspects = false;
  /** How far untried deliveries were read, and when that last started from the beginning. */
  #seen: { readonly place: DuePlace; readonly from: number } | undefined;
  /** Attempts until they are saved, and those among them that wait for a response. */
  readonly #running = new Set<Promise<void>>();
  #sending = 0;
  /** Whether reading due deliveries may find any. */
  #mayFind = true;
  /** Whether there may be new deliveries since the newest were last read. */
  #mayFindNew = true;

  constructor(endpoint: WebhookEndpoint, options: EndpointQueueOptions) {
    this.#endpoint = endpoint;
    this.#options = options;
    this.#lanes = new Lanes(options.concurrency);
    this.#health = new EndpointHealth(endpoint, { ...options, onForward: () => this.wake() });
    this.#pump.start(Infinity);
  }

  /** Applies these settings. @param readAt when they were read, in the time of `performance.now()`. */
  update(endpoint: WebhookEndpoint, readAt: number): void {
    if (readAt < this.#disabledAt) return;
    const isMoved = endpoint.url !== this.#endpoint.url;
    if (isMoved || this.#endpoint.state !== "enabled") {
      this.#health.reset(endpoint);
      this.#seen = undefined;
    }
    this.#endpoint = endpoint;
  }

  /** Notifies it that there may be something to send, including new deliveries of these orders. */
  wake(orderIds: Iterable<string> = []): void {
    this.#lanes.passOver(orderIds);
    this.#mayFind = true;
    this.#mayFindNew = true;
    this.#pump.wake();
  }

  /** Stops sending; active requests continue. */
  stop(): void {
    this.#endpoint = { ...this.#endpoint, state: "disabled" };
    this.#forget();
  }

  /** Whether no request is active. */
  get isIdle(): boolean {
    return this.#pump.isResting && this.#running.size === 0;
  }

  /** Stops for good. Resolves when no request is active. */
  async end(): Promise<void> {
    this.stop();
    await this.#pump.stop();
    await Promise.all(this.#running);
  }

  get #maySend(): boolean {
    return this.#endpoint.state === "enabled" && this.#options.maySend() && !this.#health.isPaused;
  }

  /** How many more messages may be sent now. */
  get #room(): number {
    const { concurrency } = this.#options;
    if (this.#health.isFailing)
      return Math.min(concurrency, Math.max(PROBES, this.#lanes.share)) - this.#running.size;
    return Math.min(concurrency - this.#sending, concurrency + UNSAVED - this.#running.size);
  }

  async #sendDue(): Promise<void> {
    if (this.#maySend && this.#health.isFailing) await this.#probe();
    else {
      while (this.#maySendAll && this.#mayFind && this.#room > this.#lanes.ready) await this.#read();
      while (this.#maySendAll && this.#room > 0) {
        const lane = this.#next();
        if (lane) this.#start(lane);
        else if (this.#lanes.ready > 0 && this.#mayFindNew) await this.#readNew();
        else break;
      }
    }
    if (!this.#maySend) this.#forget();
  }

  get #maySendAll(): boolean {
    return this.#maySend && !this.#health.isFailing;
  }

  /** Drops what was read but not sent; MySQL still has it. */
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

  async #read(): Promise<void> {
    const { id } = this.#endpoint;
    const { database } = this.#options;
    const now = timestamp();
    const except = this.#lanes.orderIds;
    this.#mayFind = false;
    if (this.#lanes.suspects < READ) {
      const { lanes, isAll } = await findDueLanes(database, id, { limit: READ, except, now });
      this.#mayFind = !isAll;
      this.#hasMoreSuspects = !isAll;
      this.#lanes.add(await this.#lanesOf(lanes));
      return;
    }
    // There are more suspects than can be sent soon: look for untried deliveries behind them.
    if (this.#seen === undefined || performance.now() - this.#seen.from > REREAD_MS)
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

  /** Reads the newest deliveries when all places for old ones are taken. */
  async #readNew(): Promise<void> {
    const { id } = this.#endpoint;
    const { database } = this.#options;
    this.#mayFindNew = false;
    const query = { limit: READ_FOR_PROBE, except: this.#lanes.orderIds, newestFirst: true };
    const { lanes } = await findDueLanes(database, id, query);
    this.#lanes.add((await this.#lanesOf(lanes)).filter((lane) => !lane.isSuspected && !isOld(lane)));
  }

  /** Probes a failing endpoint with messages of a few orders from both ends of the queue. */
  async #probe(): Promise<void> {
    if (!this.#mayFind || this.#room <= 0) return;
    this.#forget();
    const { database } = this.#options;
    const query = { limit: READ_FOR_PROBE, except: this.#lanes.orderIds };
    const [oldest, newest] = [
      await findDueLanes(database, this.#endpoint.id, query),
      await findDueLanes(database, this.#endpoint.id, { ...query, newestFirst: true }),
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

  /** Sends the first message of a lane. If there are more, the lane waits for its next turn. */
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

  /** @returns whether the lane's next message may be sent. @throws {DatabaseError} */
  async #attempt(lane: Lane): Promise<boolean> {
    const { deliveries, events, isSuspected } = lane;
    const { attempts, signal } = this.#options;
    const delivery = deliveries.shift();
    if (delivery === undefined) return true;
    const { url } = this.#endpoint;
    const at = timestamp();
    const startedAt = performance.now();
    const message = webhookMessage(delivery, events);
    const answer = message ? await this.#send(message, at) : NOTHING_TO_SEND;
    // Aborted because this process stops: it may have arrived, and another process sends it again.
    if (answer.status === null && signal.aborted) return false;
    const isDelivered = answer.status !== null && answer.status >= 200 && answer.status < 300;
    lane.isSuspected = !isDelivered;
    const made = delivery.attempts + 1;
    // A failure at a URL that has since changed says nothing.
    const isMoved = url !== this.#endpoint.url;
    // Nor does a failure while the endpoint accepted other messages: it may never answer this one.
    const tookOthers = this.#health.hasTakenSince(startedAt);
    const scheduled = isDelivered || !message ? undefined : this.#delay(made, answer);
    const delay = isMoved && scheduled !== undefined ? 0 : scheduled;
    const { retryAfterMs, ...kept } = answer;
    const saved = attempts.submit({
      deliveryId: delivery.id,
      attempt: { at, url, ...kept },
      state: isDelivered ? "delivered" : delay === undefined ? "failed" : "pending",
      attempts: made,
      dueAt: new Date(nowMs() + (delay ?? 0)),
    });
    // The health is updated at once; other messages may be sent while the result is saved.
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
    // Another active request may have disabled it already.
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
    log.warn({ endpoint: id, reason }, "webhook endpoint disabled");
  }
}
