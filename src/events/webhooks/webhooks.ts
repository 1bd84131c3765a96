import { randomUUID } from "node:crypto";
import { setMaxListeners } from "node:events";
import type { Redis } from "ioredis";
import type { Database } from "../../../db/database.ts";
import { failureKindOf } from "../../platform/storage-error.ts";
import { EventLog } from "../../../db/event-log.ts";
import { holdLease, releaseLease } from "../../../db/leases.ts";
import { findPosition } from "../../../db/relay-positions.ts";
import {
  attemptLocks,
  findNextDue,
  makeDeliveries,
  pruneWebhooks,
  saveAttempts,
  type AttemptResult,
} from "../../../db/webhook-deliveries.ts";
import { listEndpoints, type WebhookEndpoint } from "../../../db/webhook-endpoints.ts";
import { EventSubscriber } from "../subscriber.ts";
import { GroupCommit, withoutResults, type Committer } from "../../platform/group-commit.ts";
import type { Logger } from "../../platform/log.ts";
import type { Service } from "../../platform/service.ts";
import { describeError } from "../../platform/describe-error.ts";
import type { Networks } from "./networks.ts";
import { EndpointQueue, type EndpointQueueOptions } from "./endpoint-queue.ts";
import type { Resolve } from "./resolve.ts";
import { Sender } from "./sender.ts";

const LEASE = "webhooks";
/** Milliseconds for which the sending belongs to a process that says nothing more. */
const LEASE_MS = 8_000;
/** Milliseconds after which it is prolonged, and after which its holder no longer counts on it. */
const HOLD_INTERVAL_MS = 2_000;
const SURE_MS = 6_000;
/** Milliseconds between two looks when nobody says that there is something. */
const LOOK_INTERVAL_MS = 1_000;
/** Events of one go. */
const BATCH = 500;
const PRUNE_INTERVAL_MS = 60_000;
const PRUNED = 1_000;
/** Milliseconds that requests under way have when the process ends. */
const GRACE_MS = 5_000;

export interface WebhooksOptions {
  readonly database: Database;
  readonly networks: Networks;
  /** Opens a connection to listen on for new events; without one, they are looked for once a second. */
  readonly connectListener?: (() => Redis) | undefined;
  /** Milliseconds that an endpoint may take to answer. */
  readonly timeoutMs: number;
  /** Messages that one endpoint is sent at the same moment. */
  readonly concurrency: number;
  /** Milliseconds of nothing but failures after which an endpoint is disabled. */
  readonly disableAfterMs: number;
  /** Milliseconds for which deliveries that are settled are kept, and their attempts. */
  readonly keepMs: number;
  readonly log: Logger;
  readonly events?: EventLog;
  readonly resolve?: Resolve;
  readonly delaysMs?: EndpointQueueOptions["delaysMs"];
  readonly firstPauseMs?: EndpointQueueOptions["firstPauseMs"];
  /** Milliseconds between two looks when nobody says that there is something, and for what is due again. */
  readonly lookIntervalMs?: number;
}

/**
 * Sends events to the endpoints that want them, in one process at a time. MySQL has all that it goes by: who sends (a
 * lease), how far the log has been read, and each delivery with its attempts. So what dies in the middle is found there
 * by the next one, and Redis does no more than say that there are new events.
 *
 * Two halves: events are read from the log and become deliveries, in batches, for the endpoints that want them; and each
 * endpoint has an {@link EndpointQueue} that sends them. Where there is no endpoint, nothing is read and nothing written.
 */
export class Webhooks implements Service {
  readonly name = "webhooks";
  readonly #options: WebhooksOptions;
  readonly #events: EventLog;
  readonly #sender: Sender;
  readonly #attempts: Committer<AttemptResult, void>;
  readonly #holder = randomUUID();
  readonly #abort = new AbortController();
  readonly #queues = new Map<string, EndpointQueue>();
  readonly #subscriber: EventSubscriber;
  #heldAt = -Infinity;
  #position: number | undefined;
  #prunedAt = performance.now();
  #stopped = false;
  #running: Promise<void> | undefined;
  #isBroken = false;

  constructor(options: WebhooksOptions) {
    const { database, networks, timeoutMs, resolve, connectListener } = options;
    this.#options = options;
    this.#subscriber = new EventSubscriber(connectListener, {
      intervalMs: options.lookIntervalMs ?? LOOK_INTERVAL_MS,
    });
    // Each request under way listens to it.
    setMaxListeners(0, this.#abort.signal);
    this.#events = options.events ?? new EventLog(database);
    this.#sender = new Sender({ networks, timeoutMs, ...(resolve && { resolve }) });
    this.#attempts = new GroupCommit({
      name: "webhook_attempts",
      flush: withoutResults((results) => saveAttempts(database, results)),
      kindOf: failureKindOf,
      locks: attemptLocks(database),
    });
  }

  /** Whether this process is the one that sends, as far as it can be sure. */
  get leads(): boolean {
    return !this.#stopped && performance.now() - this.#heldAt < SURE_MS;
  }

  /** Begins to look for events. */
  start(): void {
    this.#running ??= this.#run();
  }

  /** Ends after the requests under way, or gives them up, and lets another process go on. */
  async stop({ graceMs = GRACE_MS }: { readonly graceMs?: number } = {}): Promise<void> {
    const led = this.leads;
    this.#stopped = true;
    this.#subscriber.wake();
    await this.#running;
    this.#subscriber.unsubscribe();
    const queues = [...this.#queues.values()];
    for (const queue of queues) queue.stop();
    const timer = setTimeout(() => this.#abort.abort(), graceMs);
    await Promise.all(queues.map((queue) => queue.idle()));
    clearTimeout(timer);
    await this.#attempts.idle();
    this.#sender.close();
    if (led) await this.#release();
  }

  async #run(): Promise<void> {
    while (!this.#stopped) {
      const hasMore = await this.#round().then(
        (more) => {
          this.#isBroken = false;
          return more;
        },
        (error: unknown) => this.#giveUp(error),
      );
      if (!hasMore && !this.#stopped) await this.#subscriber.rest(this.leads);
    }
  }

  /** @returns whether there may be more events to read. @throws {DatabaseError} */
  async #round(): Promise<boolean> {
    const { database } = this.#options;
    this.#subscriber.clear();
    const readAt = performance.now();
    const enabled = await this.#enabled();
    const isPruneDue = performance.now() - this.#prunedAt >= PRUNE_INTERVAL_MS;
    if (enabled.length === 0 && !isPruneDue) {
      this.#retire(enabled);
      return false;
    }
    if (!(await this.#hold())) return false;
    this.#subscriber.subscribe();
    this.#retire(enabled);
    if (isPruneDue) await this.#prune();
    const { endpoints, orderIds, hasMore } = await this.#read(enabled);
    const now = Date.now();
    const due = await findNextDue(
      database,
      endpoints.map(({ id }) => id),
    );
    for (const endpoint of endpoints) {
      const queue = this.#queueOf(endpoint);
      queue.update(endpoint, readAt);
      if ((due.get(endpoint.id)?.getTime() ?? Infinity) <= now) queue.wake(orderIds.get(endpoint.id));
    }
    return hasMore;
  }

  /** Makes deliveries of the next events. @throws {DatabaseError} */
  async #read(enabled: readonly WebhookEndpoint[]): Promise<{
    /** Those that are enabled now. */
    readonly endpoints: readonly WebhookEndpoint[];
    /** What the deliveries are about, by the id of their endpoint. */
    readonly orderIds: ReadonlyMap<string, ReadonlySet<string>>;
    /** Whether there may be more events. */
    readonly hasMore: boolean;
  }> {
    const nothing = { endpoints: enabled, orderIds: new Map(), hasMore: false };
    if (enabled.length === 0) return nothing;
    const { database } = this.#options;
    this.#position ??= (await findPosition(database, "webhooks")) ?? 0;
    // What happened before there was an endpoint is for none.
    const position = Math.max(this.#position, Math.min(...enabled.map(({ afterEventId }) => afterEventId)));
    const events = await this.#events.read({ after: position, limit: BATCH });
    const last = events.at(-1)?.id;
    if (last === undefined) return nothing;
    // Asked again after the events were read: for an endpoint that was made meanwhile they may be, and don't come again.
    const endpoints = await this.#enabled();
    if (!this.leads) return nothing;
    const orderIds = await makeDeliveries(database, { events, endpoints, position: last });
    this.#position = last;
    return { endpoints, orderIds, hasMore: events.length === BATCH };
  }

  async #enabled(): Promise<WebhookEndpoint[]> {
    const endpoints = await listEndpoints(this.#options.database);
    return endpoints.filter(({ state }) => state === "enabled");
  }

  /** @returns whether this process is the one that sends. @throws {DatabaseError} */
  async #hold(): Promise<boolean> {
    const now = performance.now();
    if (now - this.#heldAt < HOLD_INTERVAL_MS) return true;
    const led = this.leads;
    const { database, log } = this.#options;
    if (await holdLease(database, LEASE, { holder: this.#holder, forMs: LEASE_MS })) {
      // As it was when it was asked for: the answer may have taken its time.
      this.#heldAt = now;
      if (!led) {
        this.#position = undefined;
        log.info("sending webhooks");
      }
      return true;
    }
    this.#drop();
    return false;
  }

  #drop(): void {
    this.#heldAt = -Infinity;
    this.#position = undefined;
    this.#retire([]);
    this.#subscriber.unsubscribe();
  }

  /**
   * Ends the queues of endpoints that are not among these. Each stays until its requests have ended: should its endpoint be
   * enabled again before, it goes on, so that an order's events are not sent by two.
   */
  #retire(enabled: readonly WebhookEndpoint[]): void {
    const ids = new Set(enabled.map(({ id }) => id));
    for (const [id, queue] of this.#queues) {
      if (ids.has(id)) continue;
      queue.stop();
      if (queue.isIdle) this.#queues.delete(id);
    }
  }

  #queueOf(endpoint: WebhookEndpoint): EndpointQueue {
    const found = this.#queues.get(endpoint.id);
    if (found) return found;
    const { database, concurrency, disableAfterMs, delaysMs, firstPauseMs, log } = this.#options;
    const queue = new EndpointQueue(endpoint, {
      database,
      sender: this.#sender,
      attempts: this.#attempts,
      maySend: () => this.leads,
      concurrency,
      disableAfterMs,
      delaysMs,
      firstPauseMs,
      signal: this.#abort.signal,
      log,
    });
    this.#queues.set(endpoint.id, queue);
    return queue;
  }

  async #prune(): Promise<void> {
    const { database, keepMs } = this.#options;
    const removed = await pruneWebhooks(database, { before: new Date(Date.now() - keepMs), limit: PRUNED });
    // Soon again while there is something to remove, but not at the cost of sending.
    this.#prunedAt =
      removed === 0 ? performance.now() : performance.now() - PRUNE_INTERVAL_MS + LOOK_INTERVAL_MS;
  }

  async #release(): Promise<void> {
    const { database, log } = this.#options;
    await releaseLease(database, LEASE, this.#holder).catch((error: unknown) => {
      log.warn(
        { error: describeError(error) },
        "could not release the lease: another process sends webhooks once it expires",
      );
    });
  }

  #giveUp(error: unknown): boolean {
    // Once for each outage.
    if (!this.#isBroken) this.#options.log.warn({ error: describeError(error) }, "webhooks are paused");
    this.#isBroken = true;
    return false;
  }
}
